"""optax chains by name: loss scale, accumulation, clipping, weight decay, schedule, optimiser."""

from ._chain import OPTIMIZERS as OPTIMIZERS
from ._chain import Chain as Chain
from ._chain import chain as chain
from ._chain import evaluation_params as evaluation_params
from ._chain import loss_scale as loss_scale
from ._chain import matrices as matrices
from ._clip import CLIPS as CLIPS
from ._clip import clip as clip
from ._clip import clip_by_norm as clip_by_norm
from ._clip import clip_by_percentile as clip_by_percentile
from ._clip import clipped_share as clipped_share
from ._rate import rate as rate
from ._scale import dynamic_loss_scale as dynamic_loss_scale
from ._schedule import SCHEDULES as SCHEDULES
from ._stacked import per_layer as per_layer
