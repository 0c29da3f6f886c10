"""Real data that needs no network, and the user's own arrays."""

from ._load import DATASETS as DATASETS
from ._load import load as load
from ._split import Split as Split
from ._split import split as split
from ._split import standardised as standardised
