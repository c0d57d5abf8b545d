"""Filters as SQL. Unknown is NULL, and AND, OR and NOT treat it as the contract asks.

A condition that must hold by itself gets a second form, a semi-join or an index condition, from which the planner may
start: a row that one in 10,000 meets is then found without looking at the others.
"""

from __future__ import annotations

from headrace.errors import StoreError
from headrace.filters import (
    And,
    BooleanMetric,
    Comparison,
    Dated,
    Demonstrated,
    Filter,
    FloatMetric,
    Level,
    Not,
    Or,
    Tagged,
)

from .conditions import Sql, first_id, first_id_after
from .tables import digest

COMPARISONS = {"<": "<", "<=": "<=", "=": "=", ">": ">", ">=": ">=", "!=": "<>"}


def require(sql: Sql, condition: Filter, *, of_datapoints: bool = False) -> None:
    """Add that the condition is true. The table is ``i``, of inferences or datapoints."""
    if isinstance(condition, And):
        for child in condition.children:
            require(sql, child, of_datapoints=of_datapoints)
    elif isinstance(condition, Tagged) and condition.comparison_operator == "=":
        has_tag(sql, condition.key, condition.value)
    elif isinstance(condition, BooleanMetric | FloatMetric) and not of_datapoints:
        sql.where(_metric_join(sql, condition))
    else:
        sql.where(_truth(sql, condition, of_datapoints))


def has_tag(sql: Sql, key: str, value: str) -> None:
    """Add that the row has this tag."""
    sql.where(f"i.tag_digests @> {sql.value([digest(key, value)], 'uuid[]')}")


def target(level: Level) -> str:
    """The column of what feedback at this level is about."""
    return "i.id" if level == "inference" else "i.episode_id"


def latest(sql: Sql, table: str, level: Level, metric_name: str) -> str:
    """The latest value of a metric of its target; NULL where there is none."""
    return (
        f"(SELECT f.value FROM {table} f WHERE f.target_id = {target(level)}"
        f" AND {named(sql, 'f', metric_name)} ORDER BY f.id DESC LIMIT 1)"
    )


def named(sql: Sql, alias: str, metric_name: str) -> str:
    """That feedback is of this metric."""
    return sql.named(f"{alias}.metric_key", f"{alias}.metric_name", [metric_name])


def table_of(metric_type: str) -> str:
    """The table of the feedback of this type of metric."""
    return "boolean_metric_feedback" if metric_type == "boolean" else "float_metric_feedback"


def _truth(sql: Sql, condition: Filter, of_datapoints: bool) -> str:
    match condition:
        case And() | Or():
            word, none = ("AND", "TRUE") if isinstance(condition, And) else ("OR", "FALSE")
            parts = [_truth(sql, child, of_datapoints) for child in condition.children]
            return f"({f' {word} '.join(parts) or none})"
        case Not():
            return f"(NOT {_truth(sql, condition.child, of_datapoints)})"
        case Tagged():
            value = f"(i.tags::jsonb ->> {sql.value(condition.key, 'text')})"
            # By code points, whatever the database's collation takes for the same.
            return f"{value} {COMPARISONS[condition.comparison_operator]} {sql.value(condition.value, 'text')}"
        case Dated():
            return _dated(sql, condition, of_datapoints)
    if of_datapoints:
        raise StoreError(f"a condition of type {type(condition).__name__} says nothing of datapoints")
    match condition:
        case Demonstrated():
            word = "" if condition.has_demonstration else "NOT "
            return f"{word}EXISTS (SELECT FROM demonstration_feedback f WHERE f.inference_id = i.id)"
        case BooleanMetric():
            value = latest(sql, table_of("boolean"), condition.level, condition.metric_name)
            return f"{value} = {sql.value(condition.value, 'boolean')}"
        case FloatMetric():
            value = latest(sql, table_of("float"), condition.level, condition.metric_name)
            return f"{value} {COMPARISONS[condition.comparison_operator]} {sql.value(condition.value, 'float8')}"


def _metric_join(sql: Sql, condition: BooleanMetric | FloatMetric) -> str:
    """That there is such a value, and no later one of the same target."""
    is_boolean = isinstance(condition, BooleanMetric)
    comparison: Comparison = "=" if isinstance(condition, BooleanMetric) else condition.comparison_operator
    table = table_of("boolean" if is_boolean else "float")
    value = sql.value(condition.value, "boolean" if is_boolean else "float8")
    return (
        f"EXISTS (SELECT FROM {table} f WHERE f.target_id = {target(condition.level)}"
        f" AND {named(sql, 'f', condition.metric_name)} AND f.value {COMPARISONS[comparison]} {value}"
        f" AND NOT EXISTS (SELECT FROM {table} later WHERE later.target_id = f.target_id"
        f" AND {named(sql, 'later', condition.metric_name)} AND later.id > f.id))"
    )


def _dated(sql: Sql, condition: Dated, of_datapoints: bool) -> str:
    if of_datapoints:
        time = sql.value(condition.time, "timestamptz")
        return f"i.updated_at {COMPARISONS[condition.comparison_operator]} {time}"
    # A row has the instant if its id is one from the first of this millisecond on, and before the first after it.
    match condition.comparison_operator:
        case "<" | ">=" as comparison:
            return f"i.id {comparison} {sql.value(first_id(condition.time), 'uuid')}"
        case "<=":
            return f"i.id < {sql.value(first_id_after(condition.time), 'uuid')}"
        case ">":
            return f"i.id >= {sql.value(first_id_after(condition.time), 'uuid')}"
        case "=" | "!=" as comparison:
            first, after = first_id(condition.time), first_id_after(condition.time)
            within = f"(i.id >= {sql.value(first, 'uuid')} AND i.id < {sql.value(after, 'uuid')})"
            return within if comparison == "=" else f"(NOT {within})"
