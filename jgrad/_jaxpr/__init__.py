"""The seam to JAX's insides: everything jgrad knows of jaxprs is in this room.

A traced function becomes a `Graph` (values are integers, calls are inlined), whose elementwise
parts are found by structure (`chains`), and which can be run again with some nodes replaced.
"""

from ._chains import Chain as Chain
from ._chains import chains as chains
from ._chains import cone as cone
from ._chains import depends as depends
from ._convolutions import convolves as convolves
from ._convolutions import relaid as relaid
from ._elementwise import is_broadcast as is_broadcast
from ._elementwise import is_elementwise as is_elementwise
from ._elementwise import is_float as is_float
from ._elementwise import is_inexact as is_inexact
from ._elementwise import is_pointwise as is_pointwise
from ._elementwise import is_reduction as is_reduction
from ._graph import Graph as Graph
from ._graph import Node as Node
from ._graph import bind as bind
from ._graph import evaluate as evaluate
from ._graph import trace as trace
from ._layout import kind as kind
from ._layout import rebuild as rebuild
from ._layout import scan_split as scan_split
from ._layout import varying_like as varying_like
from ._layout import whole as whole
from ._sample import sample as sample
from ._selects import selected as selected
from ._tap import tap as tap
from ._tap import tap_name as tap_name
