"""Datapoints, datasets, and who has read their test split."""

from __future__ import annotations

from headrace.errors import StoreError
from headrace.filters import ByMetric, ByRelevance, ByTime, Order
from headrace.queries import DatapointQuery, DatasetSummary
from headrace.records import Datapoint, HoldoutAccess

from .conditions import Sql
from .filtering import require
from .searching import Search
from .server import Connection
from .tables import DATAPOINT, HOLDOUT_ACCESS, digest
from .text import original


async def select(connection: Connection, query: DatapointQuery, search: Search) -> list[Datapoint]:
    """The page that the query asks for."""
    sql = _selected(query, search)
    order = _order(sql, query, search)
    text = f"SELECT {DATAPOINT.columns} FROM datapoint i{sql} ORDER BY {order}{sql.page(query.limit, query.offset)}"
    return DATAPOINT.records(await connection.fetch(text, *sql.parameters))


async def count(connection: Connection, query: DatapointQuery, search: Search) -> int:
    """How many the query selects."""
    sql = _selected(query, search)
    found: int = await connection.fetchval(f"SELECT count(*) FROM datapoint i{sql}", *sql.parameters)
    return found


async def datasets(connection: Connection, function_name: str | None) -> list[DatasetSummary]:
    """Last updated first, then by name."""
    sql = Sql().where("staled_at IS NULL").equal("function_name", function_name)
    text = (
        f"SELECT dataset_name, count(*), max(updated_at) FROM datapoint{sql}"
        " GROUP BY dataset_name ORDER BY max(updated_at) DESC, dataset_name"
    )
    return [
        DatasetSummary(dataset_name=original(name), datapoint_count=many, last_updated=updated.isoformat())
        for name, many, updated in await connection.fetch(text, *sql.parameters)
    ]


async def holdout_accesses(connection: Connection, dataset_name: str, limit: int | None) -> list[HoldoutAccess]:
    """Newest first."""
    sql = Sql().name("dataset_name", dataset_name)
    text = f"SELECT {HOLDOUT_ACCESS.columns} FROM holdout_access{sql} ORDER BY id DESC{sql.page(limit)}"
    return HOLDOUT_ACCESS.records(await connection.fetch(text, *sql.parameters))


async def count_holdout_accesses(connection: Connection, dataset_name: str) -> int:
    """How many there were."""
    sql = Sql().name("dataset_name", dataset_name)
    found: int = await connection.fetchval(f"SELECT count(*) FROM holdout_access{sql}", *sql.parameters)
    return found


def _selected(query: DatapointQuery, search: Search) -> Sql:
    sql = (
        Sql()
        .ids("i.id", query.ids)
        .name("i.dataset_name", query.dataset_name)
        .equal("i.function_name", query.function_name)
        .texts("i.split", query.splits)
        .names("i.content_key", query.content_keys)
        .ids("i.episode_id", query.episode_ids)
    )
    if query.near_keys is not None:
        digests = [digest(key) for key in query.near_keys]
        sql.where(f"i.near_digests && {sql.value(digests, 'uuid[]')}")
    if query.ids is None:
        sql.where("i.staled_at IS NULL")
    if query.filters is not None:
        require(sql, query.filters, of_datapoints=True)
    if query.search:
        sql.where(search.condition(sql, query.search))
    return sql


def _order(sql: Sql, query: DatapointQuery, search: Search) -> str:
    def by(order: Order) -> str:
        match order:
            case ByTime():
                return "i.updated_at"
            case ByRelevance():
                return search.relevance(sql, query.search)
            case ByMetric():
                raise StoreError("postgres store: datapoints have no metrics to be ordered by")

    orders = query.order_by or (ByTime(),)
    directions = ["ASC" if order.direction == "ascending" else "DESC" for order in orders]
    parts = [f"{by(order)} {direction}" for order, direction in zip(orders, directions, strict=True)]
    return ", ".join([*parts, f"i.id {directions[-1]}"])
