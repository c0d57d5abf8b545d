"""The contract's reads as SQL, over one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from headrace.contracts import DatapointQuery, DatasetSummary, InferenceQuery
from headrace.records import (
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Feedback,
    InferenceRecord,
    ModelInferenceRecord,
)
from msgspec import Struct

from .rows import (
    BATCH_INFERENCE,
    BATCH_REQUEST,
    BOOLEAN,
    COMMENT,
    CONFIG_SNAPSHOT,
    DATAPOINT,
    DEMONSTRATION,
    FLOAT,
    INFERENCE,
    MODEL_INFERENCE,
    Table,
)

R = TypeVar("R", bound=Struct)


class Where:
    """Conditions that all have to hold, with their parameters. A value of None means: no condition."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.parameters: list[Any] = []

    def add(self, condition: str, *parameters: Any) -> Where:
        """Add a condition with its parameters."""
        self._conditions.append(condition)
        self.parameters += parameters
        return self

    def equal(self, column: str, value: Any) -> Where:
        """Add that the column has this value."""
        return self if value is None else self.add(f"{column} = ?", value)

    def among(self, column: str, values: Sequence[UUID] | Sequence[str] | None) -> Where:
        """Add that the column has one of these values, of which there may be very many."""
        if values is None:
            return self
        # In hexadecimal, since SQLite's JSON cannot carry bytes and cuts text at a NUL.
        texts = [value.bytes.hex() if isinstance(value, UUID) else value.encode().hex() for value in values]
        value = "from_hex(value)" if values and isinstance(values[0], UUID) else "CAST(from_hex(value) AS TEXT)"
        return self.add(f"{column} IN (SELECT {value} FROM json_each(?))", msgspec.json.encode(texts).decode())

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def select(
    connection: sqlite3.Connection,
    table: Table[R],
    where: Where,
    *,
    order: str = "id",
    limit: int | None = None,
    offset: int = 0,
) -> list[R]:
    """Records that meet the conditions."""
    sql = f"SELECT {table.columns} FROM {table.name}{where} ORDER BY {order} LIMIT ? OFFSET ?"
    # To SQLite, a negative limit is none.
    return table.records(connection.execute(sql, [*where.parameters, -1 if limit is None else limit, offset]))


def inferences(connection: sqlite3.Connection, query: InferenceQuery) -> list[InferenceRecord]:
    """Newest id first."""
    where = (
        Where()
        .among("id", query.ids)
        .equal("function_name", query.function_name)
        .equal("variant_name", query.variant_name)
        .among("episode_id", query.episode_ids)
    )
    for tag in query.tags.items():
        where.add("id IN (SELECT inference_id FROM inference_tag WHERE key = ? AND value = ?)", *tag)
    if query.before is not None:
        where.add("id < ?", query.before.bytes)
    return select(connection, INFERENCE, where, order="id DESC", limit=query.limit, offset=query.offset)


def model_inferences(connection: sqlite3.Connection, inference_id: UUID) -> list[ModelInferenceRecord]:
    """In the order they were made."""
    return select(connection, MODEL_INFERENCE, Where().equal("inference_id", inference_id.bytes))


def feedback(connection: sqlite3.Connection, target_id: UUID, limit: int | None) -> list[Feedback]:
    """Newest id first, of all kinds together."""
    found: list[Feedback] = []
    about = Where().equal("target_id", target_id.bytes)
    for table in (BOOLEAN, FLOAT, COMMENT):
        found += select(connection, table, about, order="id DESC", limit=limit)
    about = Where().equal("inference_id", target_id.bytes)
    found += select(connection, DEMONSTRATION, about, order="id DESC", limit=limit)
    return sorted(found, key=lambda one: one.id, reverse=True)[:limit]


def demonstrations(connection: sqlite3.Connection, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
    """The latest of each inference: a later one takes the place of an earlier one."""
    found = select(connection, DEMONSTRATION, Where().among("inference_id", inference_ids))
    return {one.inference_id: one for one in found}


def datapoints(connection: sqlite3.Connection, query: DatapointQuery) -> list[Datapoint]:
    """Last updated first, then the greatest id."""
    where = (
        Where()
        .among("id", query.ids)
        .equal("dataset_name", query.dataset_name)
        .equal("function_name", query.function_name)
        .among("split", query.splits)
        .among("content_key", query.content_keys)
        .among("episode_id", query.episode_ids)
    )
    if query.ids is None:
        where.add("staled_at IS NULL")
    order = "updated_at DESC, id DESC"
    return select(connection, DATAPOINT, where, order=order, limit=query.limit, offset=query.offset)


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


def config_snapshot(connection: sqlite3.Connection, hash_: str) -> ConfigSnapshot | None:
    """The one of this hash."""
    found = select(connection, CONFIG_SNAPSHOT, Where().equal("hash", hash_), order="hash")
    return found[0] if found else None


def batch_request(connection: sqlite3.Connection, batch_id: UUID) -> BatchRequest | None:
    """The newest row that is not pending, or else the newest."""
    order = "status = 'pending', id DESC"
    found = select(connection, BATCH_REQUEST, Where().equal("batch_id", batch_id.bytes), order=order, limit=1)
    return found[0] if found else None


def batch_inferences(connection: sqlite3.Connection, batch_id: UUID) -> list[BatchInference]:
    """Smallest id first."""
    return select(connection, BATCH_INFERENCE, Where().equal("batch_id", batch_id.bytes))


def cached(connection: sqlite3.Connection, key: str, written_after: float) -> bytes | None:
    """The entry of this key, if it was written after that instant (seconds since the epoch)."""
    sql = "SELECT entry FROM inference_cache WHERE key = ? AND written_at > ?"
    row = connection.execute(sql, (key, written_after)).fetchone()
    return None if row is None else row[0]
