"""Tasks that need no network: real data, published synthetic ones, and the user's own arrays."""

from ._load import DATASETS as DATASETS
from ._load import check as check
from ._load import load as load
from ._npz import from_npz as from_npz
from ._sequences import SYMBOLS as SYMBOLS
from ._split import Split as Split
from ._split import split as split
from ._split import standardised as standardised
from ._text import CHARACTERS as CHARACTERS
