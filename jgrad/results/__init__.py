"""Histories as labelled datasets: built, saved, found again, merged, and read off."""

from ._files import Folder as Folder
from ._files import claim as claim
from ._files import load as load
from ._files import provenance as provenance
from ._files import replacing as replacing
from ._files import save as save
from ._files import software as software
from ._flow import flow_dataframe as flow_dataframe
from ._flow import flow_dataset as flow_dataset
from ._merge import merge as merge
from ._read import rate_window as rate_window
from ._read import steps_to as steps_to
from ._read import to_dataframe as to_dataframe
from ._schema import SCHEMA as SCHEMA
from ._schema import VARIABLES as VARIABLES
from ._schema import build as build
from ._schema import upgraded as upgraded
from ._scores import SCORES as SCORES
from ._scores import Yardstick as Yardstick
from ._scores import scores as scores
from ._verdicts import Verdict as Verdict
from ._verdicts import verdicts as verdicts
