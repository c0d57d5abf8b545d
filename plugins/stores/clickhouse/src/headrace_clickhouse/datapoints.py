"""Which datapoints a query selects, in which order; and the datasets that they make up."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from headrace.errors import StoreError
from headrace.filters import ByMetric, ByRelevance, ByTime, Order
from headrace.queries import DatapointQuery, DatasetSummary
from headrace.records import Datapoint

from .client import Client
from .filters import of_datapoints
from .inferences import contains, occurrences
from .sql import Statement, both, page
from .tables import DATAPOINT

_ID = "toUInt128(id)"


async def datapoints(client: Client, query: DatapointQuery) -> list[Datapoint]:
    """The page that the query asks for."""
    if query.limit == 0:
        return []
    asked = Statement()
    where, order = both(_where(asked, query)), _order(asked, query)
    if query.limit is None:
        asked.text = (
            f"SELECT {DATAPOINT.columns} FROM datapoint FINAL WHERE {where} ORDER BY {order}{page(None, query.offset)}"
        )
        return DATAPOINT.records(await client.rows(asked))
    asked.text = f"SELECT id FROM datapoint FINAL WHERE {where} ORDER BY {order}{page(query.limit, query.offset)}"
    ids = [UUID(id_) for (id_,) in await client.rows(asked)]
    if not ids:
        return []
    asked = Statement()
    # In one statement, as a datapoint may be replaced meanwhile: then it comes as it is now.
    asked.text = f"SELECT {DATAPOINT.columns} FROM datapoint FINAL PREWHERE {_ID} IN {asked.uuids(ids)}"
    found = {record.id: record for record in DATAPOINT.records(await client.rows(asked))}
    return [found[id_] for id_ in ids if id_ in found]


async def count_datapoints(client: Client, query: DatapointQuery) -> int:
    """How many the query selects."""
    asked = Statement()
    asked.text = f"SELECT count() FROM datapoint FINAL WHERE {both(_where(asked, query))}"
    return int((await client.rows(asked))[0][0])


async def datasets(client: Client, function_name: str | None) -> list[DatasetSummary]:
    """Last updated first, then by name."""
    asked = Statement()
    where = ["staled_at IS NULL"]
    if function_name is not None:
        where.append(f"function_name = {asked.string(function_name)}")
    asked.text = (
        f"SELECT dataset_name, count(), max(updated_at) AS newest FROM datapoint FINAL WHERE {both(where)}"
        " GROUP BY dataset_name ORDER BY newest DESC, dataset_name"
    )
    return [
        DatasetSummary(
            dataset_name=name, datapoint_count=count, last_updated=datetime.fromisoformat(updated).isoformat()
        )
        for name, count, updated in await client.rows(asked)
    ]


def _where(statement: Statement, query: DatapointQuery) -> list[str]:
    where: list[str] = []
    for column, value in (("dataset_name", query.dataset_name), ("function_name", query.function_name)):
        if value is not None:
            where.append(f"{column} = {statement.string(value)}")
    for column, values in (("split", query.splits), ("content_key", query.content_keys)):
        if values is not None:
            where.append(f"{column} IN {statement.strings(values)}")
    if query.near_keys is not None:
        where.append(f"hasAny(near_keys, {statement.array(query.near_keys)})")
    if query.episode_ids is not None:
        where.append(f"episode_id IN {statement.plain_uuids(query.episode_ids)}")
    if query.ids is not None:
        where.append(f"{_ID} IN {statement.uuids(query.ids)}")
    else:
        where.append("staled_at IS NULL")
    if query.search:
        where.append(contains(statement, query.search))
    if query.filters is not None:
        where.append(of_datapoints(statement, query.filters))
    return where


def _order(statement: Statement, query: DatapointQuery) -> str:
    keys: list[str] = []
    orders: tuple[Order, ...] = query.order_by or (ByTime(),)
    for order in orders:
        direction = "ASC" if order.direction == "ascending" else "DESC"
        match order:
            case ByTime():
                keys.append(f"updated_at {direction}")
            case ByRelevance():
                if query.search:
                    keys.append(f"{occurrences(statement, query.search)} {direction}")
            case ByMetric():
                raise StoreError("clickhouse store: datapoints have no metrics to be ordered by")
    last = "ASC" if orders[-1].direction == "ascending" else "DESC"
    return ", ".join([*keys, f"{_ID} {last}"])
