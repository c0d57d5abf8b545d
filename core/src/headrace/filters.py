"""What selects and orders stored inferences and datapoints. Conditions have three values, as in SQL.

What is said of something that is not there is neither true nor false but unknown: a metric without feedback, a tag
whose key is missing. ``Not`` of unknown is unknown; ``And`` and ``Or`` are Kleene's: unknown gives way to what decides.
Only what is true is selected. (TensorZero's two databases disagree here; see ``docs/explanation/sharp-edges.md``.)
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Struct

Comparison: TypeAlias = Literal["<", "<=", "=", ">", ">=", "!="]
Equality: TypeAlias = Literal["=", "!="]
Level: TypeAlias = Literal["inference", "episode"]
Direction: TypeAlias = Literal["ascending", "descending"]


class FloatMetric(Struct, frozen=True, tag="float_metric"):
    """The latest value of a metric of its target, the inference or its episode; unknown where there is none."""

    metric_name: str
    level: Level
    comparison_operator: Comparison
    value: float


class BooleanMetric(Struct, frozen=True, tag="boolean_metric"):
    """Whether the latest value of a metric of its target is this one; unknown where there is none."""

    metric_name: str
    level: Level
    value: bool


class Demonstrated(Struct, frozen=True, tag="demonstration_feedback"):
    """Whether the inference has a demonstration. Never unknown."""

    has_demonstration: bool


class Tagged(Struct, frozen=True, tag="tag"):
    """How the value of a tag compares, exactly and with case; unknown where the key is missing."""

    key: str
    comparison_operator: Equality
    value: str


class Dated(Struct, frozen=True, tag="time"):
    """How the instant of an inference (that of its id, in whole milliseconds) or the ``updated_at`` of a datapoint
    compares. Never unknown."""

    comparison_operator: Comparison
    time: datetime


class And(Struct, frozen=True, tag="and"):
    """True if all are; none at all are all true."""

    children: tuple[Filter, ...]


class Or(Struct, frozen=True, tag="or"):
    """True if one is; of none at all, none is."""

    children: tuple[Filter, ...]


class Not(Struct, frozen=True, tag="not"):
    """True if the child is false; unknown if it is unknown."""

    child: Filter


Filter: TypeAlias = FloatMetric | BooleanMetric | Demonstrated | Tagged | Dated | And | Or | Not
"""Of datapoints only ``Tagged``, ``Dated`` and the three that combine have a meaning."""


class ByTime(Struct, frozen=True, tag="timestamp"):
    """By the id of an inference, which is its time; by ``updated_at`` of a datapoint."""

    direction: Direction = "descending"


class ByMetric(Struct, frozen=True, tag="metric"):
    """By the latest value of a metric (false before true); inferences without one last, whatever the direction."""

    metric_name: str
    level: Level
    metric_type: Literal["boolean", "float"]
    direction: Direction = "descending"


class ByRelevance(Struct, frozen=True, tag="search_relevance"):
    """By how often the query's ``search`` occurs, without overlap, in input and output together."""

    direction: Direction = "descending"


Order: TypeAlias = ByTime | ByMetric | ByRelevance
