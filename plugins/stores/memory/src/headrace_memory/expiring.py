"""What ends by age: payloads are emptied, rows deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from headrace.queries import Expiring
from headrace.records import (
    BatchInference,
    BatchRequest,
    BooleanFeedback,
    CommentFeedback,
    DemonstrationFeedback,
    FloatFeedback,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from headrace.types import Input
from msgspec import structs

from .rows import Rows, id_of, instant

_DELETED: Final[dict[Expiring, tuple[type[Record], ...]]] = {
    "inferences": (InferenceRecord,),
    "model_inferences": (ModelInferenceRecord,),
    "feedback": (BooleanFeedback, FloatFeedback, CommentFeedback, DemonstrationFeedback, HumanFeedback),
    "batches": (BatchRequest, BatchInference),
}

# What the emptied fields have then: None where the field knows it, otherwise the empty value of its kind.
_EMPTIED: Final[dict[type[Any], dict[str, Any]]] = {
    InferenceRecord: {"input": None, "output": None, "auxiliary_content": ()},
    ModelInferenceRecord: {
        "raw_request": "",
        "raw_response": "",
        "system": None,
        "input_messages": (),
        "output": (),
    },
    BatchRequest: {"raw_request": "", "raw_response": ""},
    BatchInference: {"input": Input(), "system": None, "input_messages": (), "raw_request": ""},
}


def expire(rows: Rows, what: Expiring, before: datetime) -> int:
    """Empty or delete what is older than ``before``; says how many rows that changed. Of the cache: nothing here."""
    if what == "data":
        return _empty(rows, before)
    kinds = _DELETED.get(what, ())
    old = [row for row in rows if isinstance(row, kinds) and instant(id_of(row)) < before]
    for row in old:
        rows.remove(row)
    return len(old)


def _empty(rows: Rows, before: datetime) -> int:
    changed = 0
    for kind, emptied in _EMPTIED.items():
        for row in rows.all(kind):
            bare = structs.replace(row, **emptied)
            if instant(row.id) < before and bare != row:
                rows.replace(bare)
                changed += 1
    return changed
