"""Tables, plots and one self-contained page: reads Datasets and Flows, trains nothing."""

from ._conclude import Conclusion as Conclusion
from ._conclude import conclude as conclude
from ._page import page as page
from ._summary import Entry as Entry
from ._summary import Summary as Summary
from ._summary import summarise as summarise
