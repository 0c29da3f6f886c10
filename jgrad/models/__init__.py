"""Flax NNX models, each leaving as plain functions and arrays: (apply, params, state)."""

from ._architectures import ARCHITECTURES as ARCHITECTURES
from ._branches import BRANCHES as BRANCHES
from ._build import Architecture as Architecture
from ._build import Model as Model
from ._build import build as build
from ._cnn import CNN as CNN
from ._cnn import PADDINGS as PADDINGS
from ._config import DTYPES as DTYPES
from ._config import Config as Config
from ._layers import STACKED as STACKED
from ._mlp import MLP as MLP
from ._norms import NORMS as NORMS
from ._recurrent import GRU as GRU
from ._recurrent import LSTM as LSTM
from ._recurrent import RECURRENT as RECURRENT
from ._recurrent import RNN as RNN
from ._residual import ResidualMLP as ResidualMLP
from ._resnet import BLOCKS as BLOCKS
from ._resnet import ResNet as ResNet
from ._transformer import POSITIONS as POSITIONS
from ._transformer import Transformer as Transformer
