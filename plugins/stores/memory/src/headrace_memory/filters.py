"""Which rows a filter selects: conditions with three values, ``None`` being the unknown one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from headrace.errors import StoreError
from headrace.filters import And, BooleanMetric, Dated, Demonstrated, Filter, FloatMetric, Level, Not, Or, Tagged
from headrace.records import BooleanFeedback, Datapoint, DemonstrationFeedback, FloatFeedback, InferenceRecord

from .rows import Rows, id_of, instant

Truth: TypeAlias = bool | None
Values: TypeAlias = Mapping[tuple[UUID, str], bool | float]

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
}


class Facts:
    """What feedback says of inferences and episodes: the latest value by target and metric, and demonstrations."""

    def __init__(self, rows: Rows) -> None:
        self.booleans: Values = _latest(rows.all(BooleanFeedback))
        self.floats: Values = _latest(rows.all(FloatFeedback))
        self.demonstrated = {one.inference_id for one in rows.all(DemonstrationFeedback)}


def truth(condition: Filter, row: InferenceRecord | Datapoint, facts: Facts) -> Truth:
    """Whether the condition holds for the row; None where that is unknown."""
    match condition:
        case And():
            return _all(truth(child, row, facts) for child in condition.children)
        case Or():
            return _not(_all(_not(truth(child, row, facts)) for child in condition.children))
        case Not():
            return _not(truth(condition.child, row, facts))
        case Tagged():
            return _compared(row.tags.get(condition.key), condition.comparison_operator, condition.value)
        case Dated():
            at = row.updated_at if isinstance(row, Datapoint) else instant(row.id)
            return _compared(at, condition.comparison_operator, condition.time)
    if isinstance(row, Datapoint):
        raise StoreError(f"memory store: a condition of type {type(condition).__name__} says nothing of datapoints")
    match condition:
        case FloatMetric():
            value = facts.floats.get((target(row, condition.level), condition.metric_name))
            return _compared(value, condition.comparison_operator, condition.value)
        case BooleanMetric():
            value = facts.booleans.get((target(row, condition.level), condition.metric_name))
            return _compared(value, "=", condition.value)
        case Demonstrated():
            return (row.id in facts.demonstrated) == condition.has_demonstration


def target(row: InferenceRecord, level: Level) -> UUID:
    """What feedback at this level is about."""
    return row.id if level == "inference" else row.episode_id


def _latest(feedback: Sequence[BooleanFeedback | FloatFeedback]) -> Values:
    return {(one.target_id, one.metric_name): one.value for one in sorted(feedback, key=id_of)}


def _compared(value: Any, comparison: str, other: Any) -> Truth:
    return None if value is None else _COMPARE[comparison](value, other)


def _not(one: Truth) -> Truth:
    return None if one is None else not one


def _all(truths: Iterable[Truth]) -> Truth:
    """Kleene's: one that is false decides, otherwise one that is unknown does."""
    every = list(truths)
    if False in every:
        return False
    return None if None in every else True
