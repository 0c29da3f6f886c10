"""The architectures by name."""

from types import MappingProxyType

from ._cnn import CNN
from ._config import Config
from ._mlp import MLP
from ._recurrent import GRU, LSTM, RNN
from ._residual import ResidualMLP
from ._resnet import ResNet
from ._transformer import Transformer

#: Name → the class of its configurations, each of which has a default for every field.
ARCHITECTURES: MappingProxyType[str, type[Config]] = MappingProxyType(
    {
        "mlp": MLP,
        "residual_mlp": ResidualMLP,
        "cnn": CNN,
        "resnet": ResNet,
        "rnn": RNN,
        "lstm": LSTM,
        "gru": GRU,
        "transformer": Transformer,
    }
)
