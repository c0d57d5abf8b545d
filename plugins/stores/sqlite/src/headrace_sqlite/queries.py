"""The contract's reads of rows as SQL, over one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from headrace.contracts import DatapointQuery, DatasetSummary, InferenceQuery
from headrace.errors import StoreError
from headrace.filters import Filter, Tagged
from headrace.queries import EpisodeQuery, EpisodeSummary
from headrace.records import (
    ApiKey,
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Feedback,
    HoldoutAccess,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from msgspec import Struct

from . import filters
from .functions import instant
from .rows import (
    API_KEY,
    BATCH_INFERENCE,
    BATCH_REQUEST,
    BOOLEAN,
    COMMENT,
    CONFIG_SNAPSHOT,
    DATAPOINT,
    DEMONSTRATION,
    FLOAT,
    HOLDOUT_ACCESS,
    HUMAN_FEEDBACK,
    INFERENCE,
    MODEL_INFERENCE,
    TABLES,
    Table,
    table_of,
)
from .where import Clause, Where, listed

R = TypeVar("R", bound=Struct)
Kind = TypeVar("Kind", bound=Record)

_NEWEST_FIRST = Clause("id DESC")


def select(
    connection: sqlite3.Connection,
    table: Table[R],
    where: Where,
    *,
    order: Clause = Clause("id"),  # noqa: B008 - it is frozen
    limit: int | None = None,
    offset: int = 0,
) -> list[R]:
    """Records that meet the conditions."""
    return table.records(_rows(connection, table, table.columns, where, order, limit, offset))


def inferences(connection: sqlite3.Connection, query: InferenceQuery) -> list[InferenceRecord]:
    """Newest id first, unless the query says otherwise."""
    where = _of_inferences(connection, query)
    if query.order_by:
        order = filters.order(query.order_by, "inference", query.search)
        return _sorted_page(connection, INFERENCE, where, order, query.limit, query.offset)
    if query.after is not None:
        where.add("id > ?", query.after.bytes)
        return select(connection, INFERENCE, where, limit=query.limit)[::-1]
    if query.before is not None:
        where.add("id < ?", query.before.bytes)
    return _sorted_page(connection, INFERENCE, where, _NEWEST_FIRST, query.limit, query.offset)


def count_inferences(connection: sqlite3.Connection, query: InferenceQuery) -> int:
    """How many the query selects."""
    return _count(connection, INFERENCE, _of_inferences(connection, query))


def model_inferences(connection: sqlite3.Connection, inference_id: UUID) -> list[ModelInferenceRecord]:
    """In the order they were made."""
    return select(connection, MODEL_INFERENCE, Where().equal("inference_id", inference_id.bytes))


def episodes(connection: sqlite3.Connection, query: EpisodeQuery) -> list[EpisodeSummary]:
    """Greatest id first; each is summed up over all its inferences."""
    selection = InferenceQuery(function_name=query.function_name, filters=query.filters)
    # Through the index by episode, so that it can stop once there are enough; unless few could be enough at all.
    is_rare = query.function_name is not None and filters.is_rare(connection, query.function_name)
    chosen = _of_inferences(connection, selection, is_indexed=is_rare)
    order = "DESC"
    if query.after is not None:
        chosen.add("episode_id > ?", query.after.bytes)
        order = "ASC"
    elif query.before is not None:
        chosen.add("episode_id < ?", query.before.bytes)
    sql = f"""SELECT episode_id, count(*), min(id), max(id) FROM inference
        WHERE episode_id IN (SELECT DISTINCT episode_id FROM inference{chosen} ORDER BY episode_id {order} LIMIT ?)
        GROUP BY episode_id ORDER BY episode_id DESC"""
    return [
        EpisodeSummary(
            episode_id=UUID(bytes=episode_id),
            count=count,
            start_time=instant(first),
            end_time=instant(last),
            last_inference_id=UUID(bytes=last),
        )
        for episode_id, count, first, last in connection.execute(sql, [*chosen.parameters, _limit(query.limit)])
    ]


def count_episodes(connection: sqlite3.Connection) -> int:
    """How many there are."""
    count: int = connection.execute("SELECT count(DISTINCT episode_id) FROM inference").fetchone()[0]
    return count


def feedback(
    connection: sqlite3.Connection, target_id: UUID, before: UUID | None, after: UUID | None, limit: int | None
) -> list[Feedback]:
    """Newest id first, of all kinds together; after a cursor, the page that is nearest to it."""
    found: list[Feedback] = []
    order = _NEWEST_FIRST if after is None else Clause("id")
    for table in (BOOLEAN, FLOAT, COMMENT, DEMONSTRATION):
        about = Where().equal("inference_id" if table is DEMONSTRATION else "target_id", target_id.bytes)
        if after is not None:
            about.add("id > ?", after.bytes)
        elif before is not None:
            about.add("id < ?", before.bytes)
        found += select(connection, table, about, order=order, limit=limit)
    found.sort(key=lambda one: one.id, reverse=after is None)
    return found[:limit] if after is None else found[:limit][::-1]


def demonstrations(connection: sqlite3.Connection, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
    """The latest of each inference: a later one takes the place of an earlier one."""
    found = select(connection, DEMONSTRATION, Where().among("inference_id", inference_ids))
    return {one.inference_id: one for one in found}


def human_feedback(
    connection: sqlite3.Connection, metric_name: str, datapoint_id: UUID, output: str
) -> HumanFeedback | None:
    """The latest of exactly this output."""
    where = Where().equal("datapoint_id", datapoint_id.bytes).equal("metric_name", metric_name).equal("output", output)
    found = select(connection, HUMAN_FEEDBACK, where, order=_NEWEST_FIRST, limit=1)
    return found[0] if found else None


def datapoints(connection: sqlite3.Connection, query: DatapointQuery) -> list[Datapoint]:
    """Last updated first, then the greatest id, unless the query says otherwise."""
    where = _of_datapoints(query)
    if query.order_by:
        order = filters.order(query.order_by, "datapoint", query.search)
    else:
        order = Clause("updated_at DESC, id DESC")
    return _sorted_page(connection, DATAPOINT, where, order, query.limit, query.offset)


def count_datapoints(connection: sqlite3.Connection, query: DatapointQuery) -> int:
    """How many the query selects."""
    return _count(connection, DATAPOINT, _of_datapoints(query))


def datasets(connection: sqlite3.Connection, function_name: str | None) -> list[DatasetSummary]:
    """Last updated first."""
    where = Where().add("staled_at IS NULL").equal("function_name", function_name)
    sql = (
        f"SELECT dataset_name, count(*), max(updated_at) FROM datapoint{where}"
        " GROUP BY dataset_name ORDER BY max(updated_at) DESC, dataset_name"
    )
    return [
        DatasetSummary(dataset_name=name, datapoint_count=count, last_updated=updated)
        for name, count, updated in connection.execute(sql, where.parameters)
    ]


def holdout_accesses(connection: sqlite3.Connection, dataset_name: str, limit: int | None) -> list[HoldoutAccess]:
    """Newest first."""
    where = Where().equal("dataset_name", dataset_name)
    return select(connection, HOLDOUT_ACCESS, where, order=_NEWEST_FIRST, limit=limit)


def count_holdout_accesses(connection: sqlite3.Connection, dataset_name: str) -> int:
    """How often the test split of the dataset was read."""
    return _count(connection, HOLDOUT_ACCESS, Where().equal("dataset_name", dataset_name))


def config_snapshot(connection: sqlite3.Connection, hash_: str) -> ConfigSnapshot | None:
    """The one of this hash."""
    found = select(connection, CONFIG_SNAPSHOT, Where().equal("hash", hash_), order=Clause("hash"))
    return found[0] if found else None


def api_key(connection: sqlite3.Connection, public_id: str) -> ApiKey | None:
    """The last updated one of this public id."""
    latest = Clause("updated_at DESC, id DESC")
    found = select(connection, API_KEY, Where().equal("public_id", public_id), order=latest, limit=1)
    return found[0] if found else None


def batch_request(connection: sqlite3.Connection, batch_id: UUID) -> BatchRequest | None:
    """The newest row that is not pending, or else the newest."""
    order = Clause("status = 'pending', id DESC")
    found = select(connection, BATCH_REQUEST, Where().equal("batch_id", batch_id.bytes), order=order, limit=1)
    return found[0] if found else None


def batch_inferences(connection: sqlite3.Connection, batch_id: UUID) -> list[BatchInference]:
    """Smallest id first."""
    return select(connection, BATCH_INFERENCE, Where().equal("batch_id", batch_id.bytes))


def find(connection: sqlite3.Connection, id_: UUID) -> list[Record]:
    """The records of this id."""
    found: list[Record] = []
    for table in TABLES:
        if table.key == "id":
            found += select(connection, table, Where().equal("id", id_.bytes))
    return found


def scan(connection: sqlite3.Connection, kind: type[Kind], after: str, limit: int) -> list[Kind]:
    """Records of one kind in the order of their keys, beyond one of them. Raise StoreError for what is no key."""
    table = table_of(kind)
    where = Where()
    if after and table.key == "id":
        try:
            where.add("id > ?", UUID(after).bytes)
        except ValueError:
            raise StoreError(f"{after!r} is not the id of a {kind.__name__}") from None
    elif after:
        where.add(f"{table.key} > ?", after)
    return select(connection, table, where, order=Clause(table.key), limit=limit)


def cached(connection: sqlite3.Connection, key: str, written_after: float) -> bytes | None:
    """The entry of this key, if it was written after that instant (seconds since the epoch)."""
    sql = "SELECT entry FROM inference_cache WHERE key = ? AND written_at > ?"
    row = connection.execute(sql, (key, written_after)).fetchone()
    return None if row is None else row[0]


def _of_inferences(connection: sqlite3.Connection, query: InferenceQuery, *, is_indexed: bool = True) -> Where:
    """What the query selects. ``is_indexed`` False keeps SQLite from going through the function's index."""
    conditions: list[Filter] = [Tagged(key, "=", value) for key, value in query.tags.items()]
    if query.filters is not None:
        conditions.append(query.filters)
    shortcut = None
    if query.ids is None and query.episode_ids is None:
        shortcut = filters.shortcut(connection, conditions)
    # SQLite, which does not count, would rather go through all inferences of the function: the plus forbids it.
    plus = "" if shortcut is None and is_indexed else "+"
    where = (
        Where()
        .among("id", query.ids)
        .equal(f"{plus}function_name", query.function_name)
        .equal("variant_name", query.variant_name)
        .among("episode_id", query.episode_ids)
    )
    if shortcut is not None:
        where.add(shortcut.sql, *shortcut.parameters)
    for each in conditions:
        clause = filters.condition(each, "inference")
        where.add(clause.sql, *clause.parameters)
    return _searched(where, query.search)


def _of_datapoints(query: DatapointQuery) -> Where:
    where = (
        Where()
        .among("id", query.ids)
        .equal("dataset_name", query.dataset_name)
        .equal("function_name", query.function_name)
        .among("split", query.splits)
        .among("content_key", query.content_keys)
        .among("episode_id", query.episode_ids)
    )
    if query.near_keys is not None:
        keys = listed(query.near_keys)
        sql = f"id IN (SELECT datapoint_id FROM datapoint_near_key WHERE near_key IN ({keys.sql}))"
        where.add(sql, *keys.parameters)
    if query.ids is None:
        where.add("staled_at IS NULL")
    if query.filters is not None:
        clause = filters.condition(query.filters, "datapoint")
        where.add(clause.sql, *clause.parameters)
    return _searched(where, query.search)


def _searched(where: Where, text: str | None) -> Where:
    if not text:
        return where
    clause = filters.search(text)
    return where.add(clause.sql, *clause.parameters)


def _sorted_page(
    connection: sqlite3.Connection, table: Table[R], where: Where, order: Clause, limit: int | None, offset: int
) -> list[R]:
    """Records of one page. First their ids alone: to sort whole rows, SQLite would carry all payloads along."""
    if limit is None:
        return select(connection, table, where, order=order, offset=offset)
    ids = [UUID(bytes=id_) for (id_,) in _rows(connection, table, "id", where, order, limit, offset)]
    records: dict[Any, R] = {
        getattr(record, "id"): record  # noqa: B009 - the table's type does not say that its records have one
        for record in select(connection, table, Where().among("id", ids))
    }
    # Another process may have deleted one in between.
    return [records[id_] for id_ in ids if id_ in records]


def _rows(
    connection: sqlite3.Connection,
    table: Table[Any],
    columns: str,
    where: Where,
    order: Clause,
    limit: int | None,
    offset: int,
) -> sqlite3.Cursor:
    sql = f"SELECT {columns} FROM {table.name}{where} ORDER BY {order.sql} LIMIT ? OFFSET ?"
    return connection.execute(sql, [*where.parameters, *order.parameters, _limit(limit), offset])


def _count(connection: sqlite3.Connection, table: Table[Any], where: Where) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM {table.name}{where}", where.parameters).fetchone()[0]
    return count


def _limit(limit: int | None) -> int:
    """To SQLite, a negative limit is none."""
    return -1 if limit is None else limit
