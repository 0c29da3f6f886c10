"""optax chains by name: clipping, then an optimiser."""

from ._chain import OPTIMIZERS as OPTIMIZERS
from ._chain import chain as chain
from ._clip import CLIPS as CLIPS
from ._clip import clip as clip
from ._clip import clip_by_norm as clip_by_norm
from ._rate import rate as rate
