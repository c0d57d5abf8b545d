"""Inferences, their attempts and their episodes."""

from __future__ import annotations

from uuid import UUID

from headrace.filters import ByMetric, ByRelevance, ByTime, Order
from headrace.queries import EpisodeQuery, EpisodeSummary, InferenceQuery
from headrace.records import InferenceRecord, ModelInferenceRecord

from .conditions import Sql, instant
from .filtering import has_tag, latest, require, table_of
from .searching import Search
from .server import Connection
from .tables import INFERENCE, MODEL_INFERENCE, uuid


async def select(connection: Connection, query: InferenceQuery, search: Search) -> list[InferenceRecord]:
    """The page that the query asks for."""
    sql = _selected(query, search)
    if query.before is not None:
        sql.where(f"i.id < {sql.value(query.before, 'uuid')}")
    if query.after is not None:
        # The page next to the cursor is that of the oldest ones; it is turned round below.
        sql.where(f"i.id > {sql.value(query.after, 'uuid')}")
        order = "i.id"
    else:
        order = _order(sql, query, search)
    text = f"SELECT {INFERENCE.columns} FROM inference i{sql} ORDER BY {order}{sql.page(query.limit, query.offset)}"
    found = INFERENCE.records(await connection.fetch(text, *sql.parameters))
    return found if query.after is None else found[::-1]


async def count(connection: Connection, query: InferenceQuery, search: Search) -> int:
    """How many the query selects."""
    sql = _selected(query, search)
    found: int = await connection.fetchval(f"SELECT count(*) FROM inference i{sql}", *sql.parameters)
    return found


async def attempts(connection: Connection, inference_id: UUID) -> list[ModelInferenceRecord]:
    """In the order they were made."""
    sql = Sql().equal("inference_id", inference_id)
    text = f"SELECT {MODEL_INFERENCE.columns} FROM model_inference{sql} ORDER BY id"
    return MODEL_INFERENCE.records(await connection.fetch(text, *sql.parameters))


async def episodes(connection: Connection, query: EpisodeQuery) -> list[EpisodeSummary]:
    """Greatest id first; each is summed up over all its inferences, by an index."""
    sql = Sql().name("i.function_name", query.function_name)
    if query.filters is not None:
        require(sql, query.filters)
    if query.before is not None:
        sql.where(f"i.episode_id < {sql.value(query.before, 'uuid')}")
    direction = "DESC"
    if query.after is not None:
        sql.where(f"i.episode_id > {sql.value(query.after, 'uuid')}")
        direction = "ASC"
    # There is no min(uuid) before PostgreSQL 18; the ends of an index are as good.
    end = "SELECT i.id FROM inference i WHERE i.episode_id = e.episode_id ORDER BY i.id"
    text = (
        f"SELECT e.episode_id, ({end} LIMIT 1), ({end} DESC LIMIT 1),"
        " (SELECT count(*) FROM inference i WHERE i.episode_id = e.episode_id)"
        f" FROM (SELECT DISTINCT i.episode_id FROM inference i{sql}"
        f" ORDER BY i.episode_id {direction}{sql.page(query.limit)}) e ORDER BY e.episode_id DESC"
    )
    return [
        EpisodeSummary(
            episode_id=uuid(episode_id),
            count=many,
            start_time=instant(first),
            end_time=instant(last),
            last_inference_id=uuid(last),
        )
        for episode_id, first, last, many in await connection.fetch(text, *sql.parameters)
    ]


async def count_episodes(connection: Connection) -> int:
    """How many episodes there are."""
    found: int = await connection.fetchval("SELECT count(*) FROM (SELECT DISTINCT episode_id FROM inference) e")
    return found


def _selected(query: InferenceQuery, search: Search) -> Sql:
    sql = (
        Sql()
        .ids("i.id", query.ids)
        .name("i.function_name", query.function_name)
        .name("i.variant_name", query.variant_name)
        .ids("i.episode_id", query.episode_ids)
    )
    for key, value in query.tags.items():
        has_tag(sql, key, value)
    if query.filters is not None:
        require(sql, query.filters)
    if query.search:
        sql.where(search.condition(sql, query.search))
    return sql


def _order(sql: Sql, query: InferenceQuery, search: Search) -> str:
    def by(order: Order) -> str:
        match order:
            case ByTime():
                return "i.id"
            case ByMetric():
                return latest(sql, table_of(order.metric_type), order.level, order.metric_name)
            case ByRelevance():
                return search.relevance(sql, query.search)

    orders = query.order_by or (ByTime(),)
    directions = ["ASC" if order.direction == "ascending" else "DESC" for order in orders]
    # Those without a value come last in both directions; said of all, it would keep the index of the id from use.
    nulls = [" NULLS LAST" if isinstance(order, ByMetric) else "" for order in orders]
    parts = [f"{by(order)} {direction}{last}" for order, direction, last in zip(orders, directions, nulls, strict=True)]
    return ", ".join([*parts, f"i.id {directions[-1]}"])
