"""Tables, plots and one self-contained page: reads Datasets and Flows, trains nothing."""

from . import terminal as terminal
from ._chart import COLOURS as COLOURS
from ._chart import INK as INK
from ._chart import MUTED as MUTED
from ._conclude import Conclusion as Conclusion
from ._conclude import as_plain as as_plain
from ._conclude import conclude as conclude
from ._entry import Entry as Entry
from ._page import page as page
from ._plots import plot as plot
from ._plots import plot_activation as plot_activation
from ._plots import plot_phases as plot_phases
from ._summary import Summary as Summary
from ._summary import summarise as summarise
from ._write import write as write
