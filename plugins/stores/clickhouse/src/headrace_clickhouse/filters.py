"""Conditions with three values, as SQL with two: when one is true, and when it is false.

Where it is neither it is unknown. So ``Not`` swaps the two, and what is unknown is selected by neither.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from headrace.errors import StoreError
from headrace.filters import And, BooleanMetric, Dated, Demonstrated, Filter, FloatMetric, Not, Or, Tagged

from .sql import Statement, both
from .tables import instant_text

MS: Final = "bitShiftRight(toUInt128(id), 80)"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPPOSITE: Final = {"<": ">=", "<=": ">", "=": "!=", ">": "<=", ">=": "<", "!=": "="}


class Conditions:
    """Makes the SQL of filters of inferences. Within ``since``, feedback of older targets plays no part.

    With ``among``, which is what stands behind ``IN``, feedback on other inferences plays no part.
    """

    def __init__(self, statement: Statement, since: UUID | None = None, among: str | None = None) -> None:
        self._sql = statement
        self._since = since
        self._among = among

    def true(self, condition: Filter) -> str:
        """When the condition is true."""
        return self._when(condition, True)

    def _when(self, condition: Filter, truth: bool) -> str:
        if (plain := combined(condition, truth, self._when)) is not None:
            return plain
        if (plain := of_tags(self._sql, condition, truth)) is not None:
            return plain
        match condition:
            case Dated():
                return dated(self._sql, condition, truth)
            case Demonstrated():
                found = f"toUInt128(id) IN (SELECT toUInt128(inference_id) FROM demonstration_feedback{self._newer()})"
                return found if condition.has_demonstration == truth else f"NOT ({found})"
            case BooleanMetric() | FloatMetric():
                return self._metric(condition, truth)
        raise StoreError(f"clickhouse store: no condition of type {type(condition).__name__}")

    def _metric(self, condition: BooleanMetric | FloatMetric, truth: bool) -> str:
        table, name, meets = _said(self._sql, condition, truth)
        of_inference = condition.level == "inference"
        column = "id" if of_inference else "episode_id"
        wanted = [name]
        if self._among is not None and of_inference:
            wanted.append(f"toUInt128(target_id) IN {self._among}")
        elif self._since is None:
            # Whose latest value meets it has some value that does: cheap to see, and often few.
            wanted.append(
                f"toUInt128(target_id) IN (SELECT toUInt128(target_id) FROM {table} WHERE {name} AND {meets})"
            )
        elif of_inference:
            wanted.append(f"toUInt128(target_id) >= {self._sql.uuid(self._since)}")
        else:
            wanted.append(
                "toUInt128(target_id) IN (SELECT toUInt128(episode_id) FROM inference"
                f" WHERE toUInt128(id) >= {self._sql.uuid(self._since)})"
            )
        return f"toUInt128({column}) IN (SELECT target FROM ({latest(table, both(wanted))}) WHERE {meets})"

    def _newer(self) -> str:
        return "" if self._since is None else f" WHERE toUInt128(inference_id) >= {self._sql.uuid(self._since)}"


def candidates(statement: Statement, condition: Filter) -> str | None:
    """A query of all inferences of which the condition may be true; None where feedback does not narrow them.

    Whose latest value meets a condition has some value that does.
    """
    found = _necessary(condition, True)
    if found is None:
        return None
    table, name, meets = _said(statement, *found)
    return f"SELECT DISTINCT target_id FROM {table} WHERE {name} AND {meets}"


def _necessary(condition: Filter, truth: bool) -> tuple[BooleanMetric | FloatMetric, bool] | None:
    """A condition on a metric of inferences that has to be true, or false, for the whole to be."""
    match condition:
        case Not():
            return _necessary(condition.child, not truth)
        case And() | Or() if isinstance(condition, And) == truth or len(condition.children) == 1:
            return next((found for each in condition.children if (found := _necessary(each, truth))), None)
        case BooleanMetric(level="inference") | FloatMetric(level="inference"):
            return condition, truth
    return None


def _said(statement: Statement, condition: BooleanMetric | FloatMetric, truth: bool) -> tuple[str, str, str]:
    """The table of a metric's feedback, which of it concerns the metric, and when a value meets the condition."""
    name = f"metric_name = {statement.string(condition.metric_name)}"
    if isinstance(condition, BooleanMetric):
        return "boolean_metric_feedback", name, f"value = {'true' if condition.value == truth else 'false'}"
    comparison = condition.comparison_operator if truth else _OPPOSITE[condition.comparison_operator]
    return "float_metric_feedback", name, f"value {comparison} {statement.number(condition.value)}"


def latest(table: str, where: str) -> str:
    """A query of the latest ``value`` of each ``target``."""
    return (
        "SELECT target, newest AS value FROM (SELECT toUInt128(target_id) AS target,"
        f" argMax(value, toUInt128(id)) AS newest FROM {table} FINAL WHERE {where} GROUP BY target)"
    )


def dated(statement: Statement, condition: Dated, truth: bool) -> str:
    """When a condition on the instant of an inference is true, or false: by the id, so that the key serves."""
    comparison = condition.comparison_operator if truth else _OPPOSITE[condition.comparison_operator]
    micros = micros_of(condition.time)
    whole = micros % 1000 == 0 and 0 <= micros < 2**48 * 1000
    match comparison:
        case "<" | ">=":
            return beyond(statement, comparison, -(-micros // 1000))
        case "<=" | ">":
            return beyond(statement, "<" if comparison == "<=" else ">=", micros // 1000 + 1)
        case _ if not whole:
            return "0" if comparison == "=" else "1"
    return f"{MS} {comparison} {statement.integer(micros // 1000)}"


def beyond(statement: Statement, comparison: str, ms: int) -> str:
    """That the instant of the id is before (``<``) or not before (``>=``) a millisecond of the epoch."""
    ms = min(max(ms, 0), 2**48)
    if ms == 2**48:
        return "1" if comparison == "<" else "0"
    return f"toUInt128(id) {comparison} {statement.wide(ms << 80)}"


def combined(condition: Filter, truth: bool, when: Callable[[Filter, bool], str]) -> str | None:
    """When a condition that combines others is true, or false; None for others."""
    match condition:
        case Not():
            return when(condition.child, not truth)
        case And() | Or():
            every = [f"({when(child, truth)})" for child in condition.children]
            all_of = isinstance(condition, And) == truth
            return (" AND " if all_of else " OR ").join(every) or ("1" if all_of else "0")
    return None


def of_tags(statement: Statement, condition: Filter, truth: bool) -> str | None:
    """When a condition on a tag is true, or false; None for others."""
    if not isinstance(condition, Tagged):
        return None
    key = statement.string(condition.key)
    comparison = condition.comparison_operator if truth else _OPPOSITE[condition.comparison_operator]
    return f"mapContains(tags, {key}) AND tags[{key}] {comparison} {statement.string(condition.value)}"


def of_datapoints(statement: Statement, condition: Filter, truth: bool = True) -> str:
    """When a condition on a datapoint is true. Raise StoreError for one that says nothing of datapoints."""

    def when(child: Filter, true: bool) -> str:
        return of_datapoints(statement, child, true)

    if (plain := combined(condition, truth, when)) is not None:
        return plain
    if (plain := of_tags(statement, condition, truth)) is not None:
        return plain
    if isinstance(condition, Dated):
        comparison = condition.comparison_operator if truth else _OPPOSITE[condition.comparison_operator]
        return f"updated_at {comparison} {statement.string(instant_text(condition.time))}"
    raise StoreError(f"clickhouse store: a condition of type {type(condition).__name__} says nothing of datapoints")


def has_metric(condition: Filter | None) -> bool:
    """Whether feedback decides, so that it pays to look at the newest inferences first."""
    match condition:
        case And() | Or():
            return any(has_metric(child) for child in condition.children)
        case Not():
            return has_metric(condition.child)
    return isinstance(condition, FloatMetric | BooleanMetric | Demonstrated)


def micros_of(at: datetime) -> int:
    """Microseconds since the epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def before_ms(at: datetime) -> int:
    """The first whole millisecond that is not before an instant."""
    return -(-micros_of(at) // 1000)
