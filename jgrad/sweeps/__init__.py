"""Many trainings as one compiled program, and comparisons made of a few such programs."""

from ._axes import grid as grid
from ._axes import paired as paired
from ._axes import randomly as randomly
from ._compare import compare as compare
from ._comparison import REMEDIES as REMEDIES
from ._comparison import Comparison as Comparison
from ._drawn import drawn as drawn
from ._layout import Spread as Spread
from ._objective import Objective as Objective
from ._objective import Own as Own
from ._objective import Supervised as Supervised
from ._own import Remedy as Remedy
from ._program import Point as Point
from ._program import Program as Program
from ._progress import Progress as Progress
from ._rates import LEARNING_RATES as LEARNING_RATES
from ._step import Examples as Examples
from ._study import Study as Study
from ._train import History as History
from ._train import train as train
from ._trial import Trial as Trial
from ._trial import settings as settings
from ._trial import vary as vary
