"""What queries select and order by, as callers write it (datasets-and-queries 2 to 4), to the neutral form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ..admission import DEFAULT_FUNCTION
from ..datasets import OutputSource
from ..errors import BadRequest, NotFound
from ..feedback import Metric
from ..filters import (
    And,
    BooleanMetric,
    ByMetric,
    ByRelevance,
    ByTime,
    Comparison,
    Dated,
    Demonstrated,
    Direction,
    Equality,
    Filter,
    FloatMetric,
    Level,
    Not,
    Or,
    Order,
    Tagged,
)
from ..gateway import Gateway
from ..queries import InferenceQuery
from ..tags import canonical
from .bodies import U32
from .paging import check_cursors

MAX_DEPTH = 64
MAX_NODES = 500  # a database compiles a filter into one statement, and has bounds of its own for that
DEFAULT_LIMIT = 20

# -- what callers write -------------------------------------------------------------------------------------


class FloatMetricFilter(Struct, tag="float_metric"):
    """How the latest value of a float metric compares."""

    metric_name: str
    value: float
    comparison_operator: Comparison


class BooleanMetricFilter(Struct, tag="boolean_metric"):
    """Whether the latest value of a boolean metric is this one."""

    metric_name: str
    value: bool


class DemonstrationFilter(Struct, tag="demonstration_feedback"):
    """Whether there is a demonstration."""

    has_demonstration: bool


class TagFilter(Struct, tag="tag"):
    """How the value of a tag compares; with neither operator is it true where the key is missing."""

    key: str
    value: str
    comparison_operator: Equality


class TimeFilter(Struct, tag="time"):
    """How the time of an inference, or of a datapoint's last change, compares."""

    time: Annotated[datetime, Meta(tz=True)]
    comparison_operator: Comparison


class AndFilter(Struct, tag="and"):
    """All of them; true if there is none."""

    children: list[FilterBody]


class OrFilter(Struct, tag="or"):
    """Any of them; false if there is none."""

    children: list[FilterBody]


class NotFilter(Struct, tag="not"):
    """The opposite."""

    child: FilterBody


FilterBody: TypeAlias = (
    FloatMetricFilter
    | BooleanMetricFilter
    | DemonstrationFilter
    | TagFilter
    | TimeFilter
    | AndFilter
    | OrFilter
    | NotFilter
)


class OrderBody(Struct):
    """An element of ``order_by``; ``name`` is the metric's."""

    by: Literal["timestamp", "metric", "search_relevance"]
    direction: Direction
    name: str | None = None


class SelectionBody(Struct, kw_only=True):
    """Which stored inferences. ``filter`` is an old name of ``filters``."""

    function_name: str | None = None
    variant_name: str | None = None
    episode_id: UUID | None = None
    output_source: OutputSource | None = None
    filters: FilterBody | None = None
    filter: FilterBody | None = None
    search_query_experimental: str | None = None


class ListInferencesBody(SelectionBody, kw_only=True):
    """Which stored inferences, in which order, and which page of them."""

    limit: U32 | None = None
    offset: U32 | None = None
    before: UUID | None = None
    after: UUID | None = None
    order_by: list[OrderBody] | None = None


# -- to the neutral form ------------------------------------------------------------------------------------


def filter_of(wire: Any, metrics: Mapping[str, Metric], *, where: str = "filters") -> Filter:
    """A filter of inferences. Raise BadRequest that says where (``where`` is its place) and why."""
    return _Reader(metrics).read(_converted(wire, FilterBody, where), where)


def datapoint_filter_of(wire: Any, *, where: str = "filter") -> Filter:
    """A filter of datapoints, of which there are tags and time. Raise BadRequest."""
    return _Reader(None).read(_converted(wire, FilterBody, where), where)


def orders_of(wire: list[Any], metrics: Mapping[str, Metric], *, where: str = "order_by") -> tuple[Order, ...]:
    """The order of inferences. Raise BadRequest."""
    bodies = [_converted(each, OrderBody, f"{where}[{index}]") for index, each in enumerate(wire)]
    return tuple(_order(body, metrics, f"{where}[{index}]") for index, body in enumerate(bodies))


def datapoint_orders_of(wire: list[Any], *, where: str = "order_by") -> tuple[Order, ...]:
    """The order of datapoints, which have no metrics. Raise BadRequest."""
    for index, each in enumerate(wire):
        if _converted(each, OrderBody, f"{where}[{index}]").by == "metric":
            raise BadRequest(f"{where}[{index}].by: datapoints have no metrics; `timestamp` and `search_relevance` do")
    return orders_of(wire, {}, where=where)


def selection_of(body: SelectionBody, gateway: Gateway) -> InferenceQuery:
    """What the body selects, all of it. Raise BadRequest, or NotFound for an unknown function."""
    if body.filters is not None and body.filter is not None:
        raise BadRequest("filter: the old name of `filters`, which is there too: keep the latter")
    wire, where = (body.filters, "filters") if body.filter is None else (body.filter, "filter")
    chosen = filter_of(wire, gateway.history.metrics, where=where) if wire is not None else None
    if body.output_source == "demonstration":
        chosen = Demonstrated(True) if chosen is None else And((chosen, Demonstrated(True)))
    return InferenceQuery(
        function_name=known_function(body.function_name, gateway),
        variant_name=body.variant_name,
        episode_ids=(body.episode_id,) if body.episode_id is not None else None,
        filters=chosen,
        search=body.search_query_experimental or None,
        limit=None,
    )


def inference_query_of(body: ListInferencesBody, gateway: Gateway) -> tuple[InferenceQuery, OutputSource]:
    """What ``list_inferences`` asks for, 20 of them without a limit. Raise BadRequest or NotFound.

    ``demonstration`` selects only inferences that have one.
    """
    selection = selection_of(body, gateway)
    orders = orders_of(body.order_by or [], gateway.history.metrics)
    check_relevance(orders, selection.search)
    offset = body.offset or 0
    check_cursors(body.before, body.after)
    if body.before is not None or body.after is not None:
        if offset:
            raise BadRequest("offset: cannot stand beside `before` or `after`")
        if any(not isinstance(order, ByTime) for order in orders):
            raise BadRequest("order_by: only `timestamp` can stand beside `before` or `after`")
        orders = ()  # a page at a cursor is newest first
    query = msgspec.structs.replace(
        selection,
        order_by=orders,
        before=body.before,
        after=body.after,
        limit=DEFAULT_LIMIT if body.limit is None else body.limit,
        offset=offset,
    )
    return query, body.output_source or "inference"


def check_relevance(orders: tuple[Order, ...], search: str | None) -> None:
    """Raise BadRequest if the order needs a search that is not there."""
    if search is None and any(isinstance(order, ByRelevance) for order in orders):
        raise BadRequest("order_by: `search_relevance` needs `search_query_experimental`")


def known_function(name: str | None, gateway: Gateway) -> str | None:
    """The name as it is stored. Raise NotFound unless it is a function of the configuration."""
    if name is None:
        return None
    stored = canonical(name)
    if stored != DEFAULT_FUNCTION and stored not in gateway.functions:
        raise NotFound(f"Unknown function: {name}")
    return stored


class _Reader:
    """Reads one filter, and counts as it goes. Of datapoints, ``metrics`` is None."""

    def __init__(self, metrics: Mapping[str, Metric] | None) -> None:
        self._metrics = metrics
        self._nodes = 0

    def read(self, body: FilterBody, where: str, depth: int = 1) -> Filter:
        """The neutral form."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise BadRequest(f"{where[:100]}: a filter is nested at most {MAX_DEPTH} levels deep")
        if self._nodes > MAX_NODES:
            raise BadRequest(f"{where[:100]}: a filter has at most {MAX_NODES} parts")
        match body:
            case AndFilter():
                return And(self._children(body.children, where, depth))
            case OrFilter():
                return Or(self._children(body.children, where, depth))
            case NotFilter():
                return Not(self.read(body.child, f"{where}.child", depth + 1))
            case TagFilter():
                return Tagged(canonical(body.key), body.comparison_operator, body.value)
            case TimeFilter():
                return Dated(body.comparison_operator, _utc(body.time, f"{where}.time"))
        if self._metrics is None:
            raise BadRequest(f"{where}.type: datapoints have no feedback; use `tag`, `time`, `and`, `or` or `not`")
        return _said(body, self._metrics, where)

    def _children(self, bodies: list[FilterBody], where: str, depth: int) -> tuple[Filter, ...]:
        return tuple(self.read(each, f"{where}.children[{index}]", depth + 1) for index, each in enumerate(bodies))


def _said(
    body: DemonstrationFilter | FloatMetricFilter | BooleanMetricFilter, metrics: Mapping[str, Metric], where: str
) -> Filter:
    """A filter by what feedback says."""
    match body:
        case DemonstrationFilter():
            return Demonstrated(body.has_demonstration)
        case FloatMetricFilter():
            name, level = _metric(body.metric_name, "float", metrics, where)
            return FloatMetric(name, level, body.comparison_operator, body.value)
        case BooleanMetricFilter():
            name, level = _metric(body.metric_name, "boolean", metrics, where)
            return BooleanMetric(name, level, body.value)


def _metric(name: str, type_: str, metrics: Mapping[str, Metric], where: str) -> tuple[str, Level]:
    """The name and level of a metric of this type. Raise BadRequest."""
    metric = configured(name, metrics)
    if metric.type != type_:
        raise BadRequest(
            f"{where}.metric_name: `{name}` is a {metric.type} metric, and this is a filter of {type_} ones"
        )
    return canonical(name), _level(metric)


def configured(name: str, metrics: Mapping[str, Metric]) -> Metric:
    """The metric of this name. Raise BadRequest."""
    metric = metrics.get(canonical(name))
    if metric is None:
        raise BadRequest(f"Invalid metric name: {name}")
    return metric


def _level(metric: Metric) -> Level:
    return "episode" if metric.level == "episode" else "inference"


def _order(body: OrderBody, metrics: Mapping[str, Metric], where: str) -> Order:
    if body.by == "timestamp":
        return ByTime(body.direction)
    if body.by == "search_relevance":
        return ByRelevance(body.direction)
    if body.name is None:
        raise BadRequest(f"{where}.name: the name of the metric is missing")
    metric = configured(body.name, metrics)
    type_: Literal["boolean", "float"] = "boolean" if metric.type == "boolean" else "float"
    return ByMetric(canonical(body.name), _level(metric), type_, body.direction)


def _utc(time: datetime, where: str) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise BadRequest(f"{where}: beyond the years 1 to 9999 in UTC") from None


def _converted(wire: Any, type_: Any, where: str) -> Any:
    """A part of a body as what it must be. Raise BadRequest that says where it is not."""
    try:
        return msgspec.convert(wire, type_)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise BadRequest(f"{where}{path.rstrip('`')}: {reason}") from None
    except RecursionError:
        raise BadRequest(f"{where}: nested too deeply") from None
