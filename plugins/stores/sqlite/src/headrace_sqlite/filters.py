"""Filters, orders and searches as SQL. SQL's NULL is what filters call unknown, so their logic is SQL's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias

from headrace.columns import json_text
from headrace.errors import StoreError
from headrace.filters import (
    And,
    BooleanMetric,
    ByMetric,
    ByRelevance,
    ByTime,
    Dated,
    Demonstrated,
    Filter,
    FloatMetric,
    Level,
    Not,
    Or,
    Order,
    Tagged,
)

from .rows import instant_text
from .where import Clause, first_id

Subject: TypeAlias = Literal["inference", "datapoint"]

# Up to so many rows, going through those that a condition can select beats looking for them from the newest row on:
# of 1 M inferences, 50,000 take 20 ms instead of 800. To count that far costs 5 ms.
_FEW: Final = 50_000
_MOST_COUNTED: Final = 8
_TARGETS: Final[dict[Level, str]] = {"inference": "inference.id", "episode": "inference.episode_id"}
_FEEDBACK: Final = {"boolean": "boolean_metric_feedback", "float": "float_metric_feedback"}


def condition(filter_: Filter, subject: Subject) -> Clause:
    """What is true, false or NULL of a row of the subject's table. Raise StoreError where it has no meaning there."""
    match filter_:
        case And():
            return _joined([condition(child, subject) for child in filter_.children], "AND", "1")
        case Or():
            return _joined([condition(child, subject) for child in filter_.children], "OR", "0")
        case Not():
            child = condition(filter_.child, subject)
            return Clause(f"NOT {child.sql}", child.parameters)
        case Tagged():
            sql = f"SELECT value FROM {subject}_tag WHERE {subject}_id = {subject}.id AND key = ?"
            return Clause(f"(({sql}) {filter_.comparison_operator} ?)", (filter_.key, filter_.value))
        case Dated():
            return _dated(filter_, subject)
    if subject == "datapoint":
        raise StoreError(f"a condition of type {type(filter_).__name__} says nothing of datapoints")
    match filter_:
        case FloatMetric():
            latest = latest_value("float", _TARGETS[filter_.level])
            return Clause(f"({latest} {filter_.comparison_operator} ?)", (filter_.metric_name, filter_.value))
        case BooleanMetric():
            latest = latest_value("boolean", _TARGETS[filter_.level])
            return Clause(f"({latest} = ?)", (filter_.metric_name, filter_.value))
        case Demonstrated():
            word = "" if filter_.has_demonstration else "NOT "
            return Clause(f"({word}EXISTS (SELECT 1 FROM demonstration_feedback WHERE inference_id = inference.id))")


def search(text: str) -> Clause:
    """That the text occurs in the input or in the output."""
    wanted = _lowered(text)
    return Clause("(occurrences(nullif(input, 'null'), ?) OR occurrences(nullif(output, 'null'), ?))", (wanted, wanted))


def order(orders: Sequence[Order], subject: Subject, text: str | None) -> Clause:
    """What to order by: all of these, then the id in the direction of the last one."""
    terms = [_term(each, subject, text) for each in orders]
    terms.append(Clause(f"id {_direction(orders[-1])}"))
    return Clause(
        ", ".join(term.sql for term in terms if term.sql), tuple(p for term in terms for p in term.parameters)
    )


def shortcut(connection: sqlite3.Connection, filters: Sequence[Filter]) -> Clause | None:
    """A condition that few inferences meet and that all which meet the filters do; None if there is none.

    It asks an index how many rows there are, not further than is of use.
    """
    counted: list[tuple[int, Clause]] = []
    for column, rows in islice((found for each in filters for found in _necessary(each)), _MOST_COUNTED):
        counted.append((_count(connection, rows), Clause(f"{column} IN ({rows.sql})", rows.parameters)))
    count, clause = min(counted, key=lambda each: each[0], default=(_FEW + 1, None))
    return clause if count <= _FEW else None


def is_rare(connection: sqlite3.Connection, function_name: str) -> bool:
    """Whether few inferences are of this function."""
    return _count(connection, Clause("SELECT 1 FROM inference WHERE function_name = ?", (function_name,))) <= _FEW


def _count(connection: sqlite3.Connection, rows: Clause) -> int:
    """How many there are, or one more than are few."""
    sql = f"SELECT count(*) FROM ({rows.sql} LIMIT {_FEW + 1})"
    count: int = connection.execute(sql, rows.parameters).fetchone()[0]
    return count


def _necessary(filter_: Filter) -> Iterator[tuple[str, Clause]]:
    """Columns of inferences, each with a SELECT of the values outside of which the filter cannot be true."""
    match filter_:
        case And():
            for child in filter_.children:
                yield from _necessary(child)
        # Rows of feedback that later ones have superseded are among them too; the condition itself leaves those out.
        case BooleanMetric():
            sql = "SELECT target_id FROM boolean_metric_feedback WHERE metric_name = ? AND value = ?"
            yield _TARGETS[filter_.level], Clause(sql, (filter_.metric_name, filter_.value))
        case FloatMetric() if filter_.comparison_operator != "!=":
            sql = f"""SELECT target_id FROM float_metric_feedback
                WHERE metric_name = ? AND value {filter_.comparison_operator} ?"""
            yield _TARGETS[filter_.level], Clause(sql, (filter_.metric_name, filter_.value))
        case Demonstrated(has_demonstration=True):
            yield "inference.id", Clause("SELECT inference_id FROM demonstration_feedback")
        case Tagged(comparison_operator="="):
            sql = "SELECT inference_id FROM inference_tag WHERE key = ? AND value = ?"
            yield "inference.id", Clause(sql, (filter_.key, filter_.value))


def _dated(filter_: Dated, subject: Subject) -> Clause:
    comparison, at = filter_.comparison_operator, filter_.time
    if subject == "datapoint":
        return Clause(f"(updated_at {comparison} ?)", (instant_text(at),))
    # The ids of a millisecond lie from the first one of it to before the first one of the next.
    first = first_id(at)
    is_whole = at.microsecond % 1000 == 0
    beyond = first_id(at, later_ms=1) if is_whole else first
    match comparison:
        case "<":
            return Clause("(inference.id < ?)", (first,))
        case "<=":
            return Clause("(inference.id < ?)", (beyond,))
        case ">":
            return Clause("(inference.id >= ?)", (beyond,))
        case ">=":
            return Clause("(inference.id >= ?)", (first,))
        case "=":
            return Clause("(inference.id >= ? AND inference.id < ?)", (first, beyond))
        case "!=":
            return Clause("(inference.id < ? OR inference.id >= ?)", (first, beyond))


def latest_value(type_: Literal["boolean", "float"], target: str) -> str:
    """The latest value about a target, with one mark for the name of the metric."""
    return f"""(SELECT value FROM {_FEEDBACK[type_]} AS given
        WHERE given.target_id = {target} AND given.metric_name = ? ORDER BY given.id DESC LIMIT 1)"""


def _term(order_: Order, subject: Subject, text: str | None) -> Clause:
    direction = _direction(order_)
    match order_:
        case ByTime():
            return Clause(f"{'id' if subject == 'inference' else 'updated_at'} {direction}")
        case ByRelevance():
            if not text:
                return Clause("")
            sql = "occurrences(nullif(input, 'null'), ?) + occurrences(nullif(output, 'null'), ?)"
            return Clause(f"{sql} {direction}", (_lowered(text),) * 2)
        case ByMetric():
            if subject == "datapoint":
                raise StoreError("datapoints have no metrics to be ordered by")
            latest = latest_value(order_.metric_type, _TARGETS[order_.level])
            return Clause(f"{latest} {direction} NULLS LAST", (order_.metric_name,))


def _direction(order_: Order) -> str:
    return "ASC" if order_.direction == "ascending" else "DESC"


def _lowered(text: str) -> str:
    """As it stands inside a string of JSON, in lower case."""
    try:
        return json_text(text)[1:-1].lower()
    except ValueError as error:
        raise StoreError(f"cannot search for {text!r}: {error}") from error


def _joined(clauses: list[Clause], word: str, empty: str) -> Clause:
    """All in one. By pairs, since SQLite bounds the depth of an expression."""
    if not clauses:
        return Clause(empty)
    while len(clauses) > 1:
        pairs = [clauses[at : at + 2] for at in range(0, len(clauses), 2)]
        clauses = [
            pair[0]
            if len(pair) == 1
            else Clause(f"({pair[0].sql} {word} {pair[1].sql})", pair[0].parameters + pair[1].parameters)
            for pair in pairs
        ]
    return clauses[0]
