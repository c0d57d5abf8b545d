"""Which inferences, episodes and datapoints a query selects, in which order, and which page of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from headrace.columns import json_text
from headrace.errors import StoreError
from headrace.filters import ByMetric, ByRelevance, ByTime, Order
from headrace.queries import DatapointQuery, EpisodeQuery, EpisodeSummary, InferenceQuery
from headrace.records import Datapoint, InferenceRecord

from .filters import Facts, target, truth
from .rows import Rows, id_of, instant

R = TypeVar("R", InferenceRecord, Datapoint)
T = TypeVar("T")


def inferences(rows: Rows, query: InferenceQuery) -> list[InferenceRecord]:
    """The page that the query asks for."""
    facts = Facts(rows)

    def value(row: InferenceRecord, order: Order) -> Any:
        match order:
            case ByTime():
                return row.id
            case ByMetric():
                known = facts.booleans if order.metric_type == "boolean" else facts.floats
                return known.get((target(row, order.level), order.metric_name))
            case ByRelevance():
                return occurrences(row, query.search)

    found = ordered(selected_inferences(rows, query), query.order_by or (ByTime(),), value)
    if query.before is not None or query.after is not None:
        return page_at(found, id_of, query.before, query.after, query.limit)
    return page(found, query.limit, query.offset)


def selected_inferences(rows: Rows, query: InferenceQuery) -> list[InferenceRecord]:
    """All that the query selects, whatever the page."""
    facts = Facts(rows)
    return [
        row
        for row in rows.all(InferenceRecord)
        if _is(query.function_name, row.function_name)
        and _is(query.variant_name, row.variant_name)
        and _among(query.ids, row.id)
        and _among(query.episode_ids, row.episode_id)
        and query.tags.items() <= row.tags.items()
        and (not query.search or occurrences(row, query.search) > 0)
        and (query.filters is None or truth(query.filters, row, facts) is True)
    ]


def episodes(rows: Rows, query: EpisodeQuery) -> list[EpisodeSummary]:
    """The episodes of the inferences that the query selects, each summed up over all its inferences."""
    wanted = InferenceQuery(function_name=query.function_name, filters=query.filters)
    chosen = {row.episode_id for row in selected_inferences(rows, wanted)}
    ids = {episode_id: ids for episode_id, ids in ids_by_episode(rows).items() if episode_id in chosen}
    found = [
        EpisodeSummary(
            episode_id=episode_id,
            count=len(ids[episode_id]),
            start_time=instant(min(ids[episode_id])),
            end_time=instant(max(ids[episode_id])),
            last_inference_id=max(ids[episode_id]),
        )
        for episode_id in sorted(ids, reverse=True)
    ]
    return page_at(found, lambda summary: summary.episode_id, query.before, query.after, query.limit)


def ids_by_episode(rows: Rows) -> Mapping[UUID, list[UUID]]:
    """The inferences of each episode."""
    found: dict[UUID, list[UUID]] = {}
    for row in rows.all(InferenceRecord):
        found.setdefault(row.episode_id, []).append(row.id)
    return found


def datapoints(rows: Rows, query: DatapointQuery) -> list[Datapoint]:
    """The page that the query asks for."""

    def value(row: Datapoint, order: Order) -> Any:
        match order:
            case ByTime():
                return row.updated_at
            case ByRelevance():
                return occurrences(row, query.search)
            case ByMetric():
                raise StoreError("memory store: datapoints have no metrics to be ordered by")

    found = ordered(selected_datapoints(rows, query), query.order_by or (ByTime(),), value)
    return page(found, query.limit, query.offset)


def selected_datapoints(rows: Rows, query: DatapointQuery) -> list[Datapoint]:
    """All that the query selects, whatever the page."""
    facts = Facts(rows)
    return [
        row
        for row in rows.all(Datapoint)
        if _is(query.dataset_name, row.dataset_name)
        and _is(query.function_name, row.function_name)
        and _among(query.ids, row.id)
        and _among(query.splits, row.split)
        and _among(query.content_keys, row.content_key)
        and (query.near_keys is None or not set(query.near_keys).isdisjoint(row.near_keys))
        and _among(query.episode_ids, row.episode_id)
        and (query.ids is not None or row.staled_at is None)
        and (not query.search or occurrences(row, query.search) > 0)
        and (query.filters is None or truth(query.filters, row, facts) is True)
    ]


def occurrences(row: InferenceRecord | Datapoint, search: str | None) -> int:
    """How often the text stands in the JSON of input and output, each searched by itself, without overlap."""
    if not search:
        return 0
    try:
        wanted = json_text(search)[1:-1].lower()
    except ValueError as error:
        raise StoreError(f"memory store: cannot search for {search!r}: {error}") from error
    return sum(json_text(part).lower().count(wanted) for part in (row.input, row.output) if part is not None)


def ordered(found: Sequence[R], orders: Sequence[Order], value: Callable[[R, Order], Any]) -> list[R]:
    """Sorted by the first order, ties by the next one, the last ties by id in the direction of the last order.

    Rows that have no value come last in both directions.
    """
    rows = sorted(found, key=id_of, reverse=orders[-1].direction == "descending")
    for order in reversed(orders):  # sorts are stable: what the later order settled stays where the earlier one ties
        valued = [(value(row, order), row) for row in rows]
        having = [each for each in valued if each[0] is not None]
        having.sort(key=operator.itemgetter(0), reverse=order.direction == "descending")
        rows = [row for _, row in having] + [row for known, row in valued if known is None]
    return rows


def page(found: Sequence[T], limit: int | None, offset: int = 0) -> list[T]:
    """From the offset on, not more than the limit."""
    return list(found[offset : None if limit is None else offset + limit])


def page_at(
    newest_first: Sequence[T], id_: Callable[[T], UUID], before: UUID | None, after: UUID | None, limit: int | None
) -> list[T]:
    """The page next to an exclusive cursor: the newest ones before it, or the oldest ones after it."""
    if after is not None:
        newer = [one for one in newest_first if id_(one) > after]
        return newer if limit is None else newer[max(len(newer) - limit, 0) :]
    return page([one for one in newest_first if before is None or id_(one) < before], limit)


def _is(wanted: str | None, value: str) -> bool:
    return wanted is None or wanted == value


def _among(wanted: Collection[object] | None, value: object) -> bool:
    return wanted is None or value in wanted
