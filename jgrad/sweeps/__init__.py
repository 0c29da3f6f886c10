"""Many trainings as one compiled program, and comparisons made of a few such programs."""

from ._compare import compare as compare
from ._comparison import LEARNING_RATES as LEARNING_RATES
from ._comparison import REMEDIES as REMEDIES
from ._comparison import Comparison as Comparison
from ._program import Point as Point
from ._program import Program as Program
from ._progress import Progress as Progress
from ._step import drawn as drawn
from ._train import History as History
from ._train import train as train
