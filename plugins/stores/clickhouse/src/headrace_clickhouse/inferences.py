"""Which inferences a query selects, in which order; and the episodes that they belong to.

A page of the newest is found without going through all of the table: once as if no row had been written twice, which is
checked as the rows are read; and with a condition on feedback first among the newest only, and then among those alone
of which it was ever true, if they are few.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from headrace.columns import json_text
from headrace.errors import StoreError
from headrace.filters import ByMetric, ByRelevance, ByTime, Filter, Order
from headrace.queries import EpisodeQuery, EpisodeSummary, InferenceQuery
from headrace.records import InferenceRecord

from .client import Client
from .filters import Conditions, candidates, has_metric, latest
from .sql import Statement, both, page
from .tables import INFERENCE
from .times import instant_of_ms

# Among how many of the newest rows a page is looked for at first and then, where feedback decides.
_NEWEST: Final = (5_000, 100_000)
# Up to how many targets are looked at one by one, rather than all of the newest.
_FEW: Final = 1_000
_ID: Final = "toUInt128(id)"


async def inferences(client: Client, query: InferenceQuery) -> list[InferenceRecord]:
    """The page that the query asks for."""
    if query.limit == 0:
        return []
    if query.order_by not in ((), (ByTime("descending"),), (ByTime("ascending"),)):
        return await _exact_page(client, query)
    is_page = query.limit is not None and not query.offset
    # From the oldest on there is no such narrowing, as feedback of later targets may be anything.
    by_newest = is_page and has_metric(query.filters) and not _is_ascending(query)
    windows: tuple[int | None, ...] = _NEWEST if by_newest else (None,) if is_page else ()
    for n, newest in enumerate(windows):
        found = await _first_page(client, query, newest)
        if len(found) == query.limit:
            return found
        # What is rare is not among the next ones, either.
        if n == 0 and by_newest and (few := await _few(client, query.filters)) is not None:
            return await _exact_page(client, query, few)
    return await _exact_page(client, query)


async def count_inferences(client: Client, query: InferenceQuery) -> int:
    """How many the query selects."""
    asked = Statement()
    where = both([*_plain(asked, query, cursors=False), *_filters(asked, query)])
    asked.text = f"SELECT count() FROM inference FINAL WHERE {where}"
    return int((await client.rows(asked))[0][0])


async def episodes(client: Client, query: EpisodeQuery) -> list[EpisodeSummary]:
    """The page of episodes, each summed up over all its inferences."""
    asked = Statement()
    selected = InferenceQuery(function_name=query.function_name, filters=query.filters)
    where = [*_plain(asked, selected), *_filters(asked, selected)]
    if query.before is not None:
        where.append(f"toUInt128(episode_id) < {asked.uuid(query.before)}")
    if query.after is not None:
        where.append(f"toUInt128(episode_id) > {asked.uuid(query.after)}")
    direction = "ASC" if query.after is not None else "DESC"
    chosen = (
        f"SELECT toUInt128(episode_id) AS episode FROM inference FINAL WHERE {both(where)}"
        f" GROUP BY episode ORDER BY episode {direction}{page(query.limit)}"
    )
    asked.text = (
        "SELECT episode_id, count(), toString(bitShiftRight(min(toUInt128(id)), 80)),"
        " toString(bitShiftRight(max(toUInt128(id)), 80)), argMax(id, toUInt128(id))"
        f" FROM inference FINAL WHERE toUInt128(episode_id) IN ({chosen}) GROUP BY episode_id"
        " ORDER BY toUInt128(episode_id) DESC"
    )
    return [
        EpisodeSummary(
            episode_id=UUID(episode_id),
            count=count,
            start_time=instant_of_ms(int(first)),
            end_time=instant_of_ms(int(last)),
            last_inference_id=UUID(last_id),
        )
        for episode_id, count, first, last, last_id in await client.rows(asked)
    ]


async def count_episodes(client: Client) -> int:
    """How many episodes there are."""
    return int((await client.rows("SELECT uniqExact(episode_id) FROM inference FINAL"))[0][0])


def occurrences(statement: Statement, search: str) -> str:
    """How often the text stands in the JSON of input and of output."""
    try:
        wanted = statement.string(json_text(search)[1:-1].lower())
    except ValueError as error:
        raise StoreError(f"clickhouse store: cannot search for {search!r}: {error}") from error
    parts = [f"countSubstrings(lowerUTF8(ifNull({part}, '')), {wanted})" for part in ("input", "output")]
    return f"({' + '.join(parts)})"


def contains(statement: Statement, search: str) -> str:
    """That the text stands in the JSON of input or of output."""
    try:
        wanted = statement.string(json_text(search)[1:-1].lower())
    except ValueError as error:
        raise StoreError(f"clickhouse store: cannot search for {search!r}: {error}") from error
    return " OR ".join(f"position(lowerUTF8(ifNull({part}, '')), {wanted}) > 0" for part in ("input", "output"))


async def _first_page(client: Client, query: InferenceQuery, newest: int | None) -> list[InferenceRecord]:
    """The page, or fewer rows than there are: if some were written twice, or few of the newest meet the filters."""
    since: UUID | None = None
    if newest is not None:
        since = await _newest(client, query, newest)
        if since is None:
            return []  # there are not as many: whoever goes through all is as fast
    asked = Statement()
    where = _plain(asked, query)
    if since is not None:
        where.append(f"{_ID} >= {asked.uuid(since)}")
    where += _filters(asked, query, since)
    ascending = _is_ascending(query)
    chosen = (
        f"SELECT {_ID} FROM inference WHERE {both(where)} ORDER BY {_ID} {'ASC' if ascending else 'DESC'}"
        f" LIMIT 1 BY {_ID}{page(query.limit)}"
    )
    # Without the conditions on feedback: they are the same for every row of one id.
    checked = both(_plain(asked, query))
    asked.text = (
        f"SELECT {INFERENCE.columns} FROM inference FINAL PREWHERE {_ID} IN ({chosen}) WHERE {checked}"
        f" ORDER BY {_ID} {_direction(query)}"
    )
    return INFERENCE.records(await client.rows(asked))


async def _few(client: Client, condition: Filter | None) -> list[UUID] | None:
    """The inferences of which alone the condition may be true; None if these are many, or feedback does not tell."""
    asked = Statement()
    found = None if condition is None else candidates(asked, condition)
    if found is None:
        return None
    asked.text = f"{found} LIMIT {_FEW + 1:d}"
    rows = await client.rows(asked)
    return [UUID(id_) for (id_,) in rows] if len(rows) <= _FEW else None


async def _newest(client: Client, query: InferenceQuery, newest: int) -> UUID | None:
    """The id from which on there are many rows, whatever they are like; None if there are fewer in all."""
    asked = Statement()
    # By the id alone, which is what can be counted without reading anything else.
    where = "1" if query.before is None else f"{_ID} < {asked.uuid(query.before)}"
    asked.text = f"SELECT id FROM inference WHERE {where} ORDER BY {_ID} DESC LIMIT 1 OFFSET {newest:d}"
    rows = await client.rows(asked)
    return UUID(rows[0][0]) if rows else None


async def _exact_page(client: Client, query: InferenceQuery, few: list[UUID] | None = None) -> list[InferenceRecord]:
    """The page, of ``few`` if that is not None."""
    if few == []:
        return []
    asked = Statement()
    among = None if few is None else asked.uuids(few)
    chosen = [] if among is None else [f"{_ID} IN {among}"]
    where = both([*chosen, *_plain(asked, query), *_filters(asked, query, among=among)])
    joins, keys = _order(asked, query)
    if query.limit is None:
        source = f"inference FINAL{joins} WHERE {where} ORDER BY {keys}{page(None, query.offset)}"
        asked.text = f"SELECT {INFERENCE.columns} FROM {source}"
        rows = await client.rows(asked)
        return INFERENCE.records(reversed(rows) if query.after is not None else rows)
    # First the ids alone, so that the long columns are read for the page only.
    asked.text = f"SELECT id FROM inference FINAL{joins} WHERE {where} ORDER BY {keys}{page(query.limit, query.offset)}"
    ids = [UUID(id_) for (id_,) in await client.rows(asked)]
    if not ids:
        return []
    asked = Statement()
    asked.text = f"SELECT {INFERENCE.columns} FROM inference FINAL PREWHERE {_ID} IN {asked.uuids(ids)}"
    found = {record.id: record for record in INFERENCE.records(await client.rows(asked))}
    if query.after is not None:
        ids.reverse()
    # One that was deleted between the two questions is not there.
    return [found[id_] for id_ in ids if id_ in found]


def _plain(statement: Statement, query: InferenceQuery, *, cursors: bool = True) -> list[str]:
    """What the columns of the row itself decide."""
    where: list[str] = []
    if query.ids is not None:
        where.append(f"{_ID} IN {statement.uuids(query.ids)}")
    if query.function_name is not None:
        where.append(f"function_name = {statement.string(query.function_name)}")
    if query.variant_name is not None:
        where.append(f"variant_name = {statement.string(query.variant_name)}")
    if query.episode_ids is not None:
        # By the UUID itself, which is what the index of the column knows.
        where.append(f"episode_id IN {statement.plain_uuids(query.episode_ids)}")
    for key, value in query.tags.items():
        key = statement.string(key)
        where.append(f"mapContains(tags, {key}) AND tags[{key}] = {statement.string(value)}")
    if cursors and query.before is not None:
        where.append(f"{_ID} < {statement.uuid(query.before)}")
    if cursors and query.after is not None:
        where.append(f"{_ID} > {statement.uuid(query.after)}")
    if query.search:
        where.append(contains(statement, query.search))
    return where


def _filters(
    statement: Statement, query: InferenceQuery, since: UUID | None = None, among: str | None = None
) -> list[str]:
    return [] if query.filters is None else [Conditions(statement, since, among).true(query.filters)]


def _is_ascending(query: InferenceQuery) -> bool:
    """Whether rows are looked for from the oldest on: by an order, or next to a cursor."""
    return query.after is not None or query.order_by == (ByTime("ascending"),)


def _direction(query: InferenceQuery) -> str:
    return "ASC" if query.order_by == (ByTime("ascending"),) else "DESC"


def _order(statement: Statement, query: InferenceQuery) -> tuple[str, str]:
    """What to join, and the keys to sort by."""
    if query.after is not None:
        return "", f"{_ID} ASC"
    joins: list[str] = []
    keys: list[str] = []
    orders: tuple[Order, ...] = query.order_by or (ByTime(),)
    for n, order in enumerate(orders):
        direction = "ASC" if order.direction == "ascending" else "DESC"
        match order:
            case ByTime():
                keys.append(f"{_ID} {direction}")
            case ByRelevance():
                if query.search:
                    keys.append(f"{occurrences(statement, query.search)} {direction}")
            case ByMetric():
                name = f"metric_name = {statement.string(order.metric_name)}"
                values = latest(f"{order.metric_type}_metric_feedback", name)
                column = "id" if order.level == "inference" else "episode_id"
                joins.append(
                    f" LEFT ANY JOIN (SELECT target AS target{n}, value AS value{n} FROM ({values})) AS metric{n}"
                    f" ON toUInt128({column}) = target{n}"
                )
                keys.append(f"value{n} {direction} NULLS LAST")
    last = "ASC" if orders[-1].direction == "ascending" else "DESC"
    return "".join(joins), ", ".join([*keys, f"{_ID} {last}"])
