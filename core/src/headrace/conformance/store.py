"""What every store promises: all or nothing, back as it went in, in the order and the selection asked for."""

from __future__ import annotations

from .batches import BatchPromises
from .store_datapoints import DatapointPromises
from .store_everything import EverythingPromises
from .store_examples import ExamplePromises
from .store_feedback import FeedbackPromises
from .store_filters import FilterPromises
from .store_inferences import InferencePromises
from .store_keys import KeyPromises
from .store_orders import OrderPromises
from .store_sums import SumPromises
from .store_writing import WritingPromises


class StoreConformance(
    WritingPromises,
    InferencePromises,
    FilterPromises,
    OrderPromises,
    FeedbackPromises,
    DatapointPromises,
    ExamplePromises,
    KeyPromises,
    BatchPromises,
    SumPromises,
    EverythingPromises,
):
    """Subclass it with ``build``. A store whose records end with it says ``lacks = {"persistence": why}``."""
