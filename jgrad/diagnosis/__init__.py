"""From a measured flow to symptoms, causes and remedies; measured against forecast."""

from ._chain import Chain as Chain
from ._chain import chain as chain
from ._compare import Comparison as Comparison
from ._compare import compare as compare
from ._diagnose import DEAD as DEAD
from ._diagnose import STEEP as STEEP
from ._diagnose import SYMPTOMS as SYMPTOMS
from ._diagnose import diagnose as diagnose
from ._finding import Finding as Finding
from ._finding import History as History
from ._profile import Measured as Measured
from ._profile import Profile as Profile
from ._remedies import SATURATED as SATURATED
from ._span import Span as Span
from ._span import headline as headline
from ._span import narrowest as narrowest
from ._span import span as span
from ._words import factor as factor
from ._words import folds as folds
from ._words import signed as signed
