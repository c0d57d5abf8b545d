"""Rows by what they belong to: feedback, attempts, examples, batches; and every row there is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from headrace.columns import finite_vector
from headrace.errors import StoreError
from headrace.records import (
    ApiKey,
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    DemonstrationFeedback,
    Example,
    Feedback,
    HoldoutAccess,
    HumanFeedback,
    ModelInferenceRecord,
    Record,
)

from .client import Client
from .sql import Statement, both, page
from .tables import (
    API_KEY,
    BATCH_INFERENCE,
    BATCH_REQUEST,
    BOOLEAN,
    COMMENT,
    CONFIG_SNAPSHOT,
    DEMONSTRATION,
    EXAMPLE,
    FLOAT,
    HOLDOUT_ACCESS,
    HUMAN_FEEDBACK,
    MODEL_INFERENCE,
    TABLES,
    Table,
)

R = TypeVar("R", bound=Any)

_ID = "toUInt128(id)"
# The distances of 32-bit vectors agree to about this many digits; what differs beyond is a tie, settled by id.
_DIGITS = 6


async def model_inferences(client: Client, inference_id: UUID) -> list[ModelInferenceRecord]:
    """Every attempt, in the order they were made."""
    asked = Statement()
    return await _select(client, asked, MODEL_INFERENCE, f"toUInt128(inference_id) = {asked.uuid(inference_id)}")


async def feedback(
    client: Client, target_id: UUID, before: UUID | None, after: UUID | None, limit: int | None
) -> list[Feedback]:
    """Newest id first, of all kinds together; the page next to a cursor."""
    found: list[Feedback] = []
    for table in (BOOLEAN, FLOAT, COMMENT, DEMONSTRATION):
        asked = Statement()
        column = "inference_id" if table is DEMONSTRATION else "target_id"
        where = [f"toUInt128({column}) = {asked.uuid(target_id)}"]
        if before is not None:
            where.append(f"{_ID} < {asked.uuid(before)}")
        if after is not None:
            where.append(f"{_ID} > {asked.uuid(after)}")
        order = f"{_ID} {'DESC' if after is None else 'ASC'}"
        found += await _select(client, asked, table, both(where), order=order, limit=limit)
    if after is not None:
        nearest = list(islice(sorted(found, key=lambda one: one.id), limit))
        return nearest[::-1]
    return sorted(found, key=lambda one: one.id, reverse=True)[:limit]


async def demonstrations(client: Client, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
    """The latest of each inference."""
    if not inference_ids:
        return {}
    asked = Statement()
    where = f"toUInt128(inference_id) IN {asked.uuids(inference_ids)}"
    found: list[DemonstrationFeedback] = await _select(client, asked, DEMONSTRATION, where)
    return {one.inference_id: one for one in found}


async def human_feedback(client: Client, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
    """The latest judgement of exactly this output."""
    asked = Statement()
    where = [
        f"metric_name = {asked.string(metric_name)}",
        f"toUInt128(datapoint_id) = {asked.uuid(datapoint_id)}",
        f"output = {asked.string(output)}",
    ]
    return _one(await _select(client, asked, HUMAN_FEEDBACK, both(where), order=f"{_ID} DESC", limit=1))


async def holdout_accesses(client: Client, dataset_name: str, limit: int | None) -> list[HoldoutAccess]:
    """Newest first."""
    asked = Statement()
    where = f"dataset_name = {asked.string(dataset_name)}"
    return await _select(client, asked, HOLDOUT_ACCESS, where, order=f"{_ID} DESC", limit=limit)


async def count_holdout_accesses(client: Client, dataset_name: str) -> int:
    """How often somebody has."""
    asked = Statement()
    asked.text = f"SELECT count() FROM holdout_access FINAL WHERE dataset_name = {asked.string(dataset_name)}"
    return int((await client.rows(asked))[0][0])


async def examples(
    client: Client, function_name: str, variant_name: str, embedding: Sequence[float], k: int
) -> list[tuple[Example, float]]:
    """The k nearest of the same dimension, with their distance; equal ones by id."""
    if k == 0:
        return []
    asked = Statement()
    try:
        wanted = asked.vector(finite_vector(embedding))
    except ValueError as error:
        raise StoreError(f"clickhouse store: cannot search for the nearest: {error}") from error
    where = [*_of_variant(asked, function_name, variant_name), f"length(embedding) = {len(embedding):d}"]
    # A vector without direction is at distance one from everything. The dimension is asked first, as distances of
    # vectors of different ones are an error; IF is evaluated only where it has to be.
    ours = "arrayMap(x -> toFloat64(x), embedding)"
    cosine = f"if(length(embedding) = {len(embedding):d}, cosineDistance({ours}, {wanted}), 1)"
    distance = f"round(least(greatest(if(isFinite({cosine}), {cosine}, 1), 0), 2), {_DIGITS})"
    asked.text = (
        f"SELECT {EXAMPLE.columns}, {distance} AS distance FROM dicl_example FINAL WHERE {both(where)}"
        f" ORDER BY distance, {_ID}{page(k)}"
    )
    rows = await client.rows(asked, short_circuit_function_evaluation="force_enable")
    return [(example, float(row[-1])) for example, row in zip(EXAMPLE.records(rows), rows, strict=True)]


async def count_examples(client: Client, function_name: str, variant_name: str) -> int:
    """How many examples a variant has."""
    asked = Statement()
    asked.text = f"SELECT count() FROM dicl_example FINAL WHERE {both(_of_variant(asked, function_name, variant_name))}"
    return int((await client.rows(asked))[0][0])


async def config_snapshot(client: Client, hash_: str) -> ConfigSnapshot | None:
    """The one of this hash."""
    asked = Statement()
    return _one(await _select(client, asked, CONFIG_SNAPSHOT, f"`hash` = {asked.string(hash_)}", order="`hash`"))


async def api_key(client: Client, public_id: str) -> ApiKey | None:
    """The last updated one of this public id. There are few enough keys to look through all of them."""
    asked = Statement()
    where = f"public_id = {asked.string(public_id)}"
    return _one(await _select(client, asked, API_KEY, where, order=f"updated_at DESC, {_ID} DESC", limit=1))


async def batch_request(client: Client, batch_id: UUID) -> BatchRequest | None:
    """The newest row that is not pending, or else the newest."""
    asked = Statement()
    where = f"toUInt128(batch_id) = {asked.uuid(batch_id)}"
    order = f"status = 'pending', {_ID} DESC"
    return _one(await _select(client, asked, BATCH_REQUEST, where, order=order, limit=1))


async def batch_inferences(client: Client, batch_id: UUID) -> list[BatchInference]:
    """Smallest id first."""
    asked = Statement()
    return await _select(client, asked, BATCH_INFERENCE, f"toUInt128(batch_id) = {asked.uuid(batch_id)}")


async def find(client: Client, id_: UUID) -> list[Record]:
    """Every record of this id, of whatever kind."""
    tables = [table for table in TABLES.values() if table is not CONFIG_SNAPSHOT]
    asked = Statement()
    wanted = asked.plain_uuid(id_)
    # One question for all, so that only those that have it are asked for the rows.
    asked.text = " UNION ALL ".join(
        f"SELECT DISTINCT '{table.name}' FROM {table.name} WHERE {_ID} = toUInt128({wanted}) AND id = {wanted}"
        for table in tables
    )
    having = {name for (name,) in await client.rows(asked)}
    found: list[Record] = []
    for table in tables:
        if table.name in having:
            asked = Statement()
            wanted = asked.plain_uuid(id_)
            found += await _select(client, asked, table, f"{_ID} = toUInt128({wanted}) AND id = {wanted}")
    return found


async def scan(client: Client, table: Table[R], after: str, limit: int) -> list[R]:
    """In the order of their keys, from the first beyond ``after`` on."""
    asked = Statement()
    if table is CONFIG_SNAPSHOT:
        return await _select(client, asked, table, f"`hash` > {asked.string(after)}", order="`hash`", limit=limit)
    try:
        known = UUID(after)
    except ValueError:
        known = None
    if known is not None and str(known) == after:
        where = f"{_ID} > {asked.uuid(known)}"
    else:
        where = f"toString(id) > {asked.string(after)}"
    return await _select(client, asked, table, where, limit=limit)


async def _select(
    client: Client, asked: Statement, table: Table[R], where: str, *, order: str = _ID, limit: int | None = None
) -> list[R]:
    """Records that meet the conditions. The long columns are read only of those on the page."""
    chosen = f"SELECT {table.key} FROM {table.name} FINAL WHERE {where} ORDER BY {order}{page(limit)}"
    asked.text = f"SELECT {table.columns} FROM {table.name} FINAL PREWHERE {table.key} IN ({chosen}) ORDER BY {order}"
    return table.records(await client.rows(asked))


def _of_variant(statement: Statement, function_name: str, variant_name: str) -> list[str]:
    return [
        f"function_name = {statement.string(function_name)}",
        f"variant_name = {statement.string(variant_name)}",
    ]


def _one(found: list[R]) -> R | None:
    return found[0] if found else None
