"""What ends by age: payloads are emptied, rows deleted. Each is a change that the server has made when it answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from headrace.queries import Expiring

from .client import Client
from .filters import before_ms, beyond
from .schema import Dialect
from .sql import Statement

_DELETED: Final[Mapping[Expiring, tuple[str, ...]]] = {
    "inferences": ("inference",),
    "model_inferences": ("model_inference",),
    "feedback": (
        "boolean_metric_feedback",
        "float_metric_feedback",
        "comment_feedback",
        "demonstration_feedback",
        "human_feedback",
    ),
    "batches": ("batch_request", "batch_inference"),
}
# What emptied columns have then: NULL where they may, otherwise the empty value of their kind.
_EMPTIED: Final[Mapping[str, Mapping[str, str]]] = {
    "inference": {"input": "NULL", "output": "NULL", "auxiliary_content": "'[]'"},
    "model_inference": {
        "raw_request": "''",
        "raw_response": "''",
        "system": "NULL",
        "input_messages": "'[]'",
        "output": "'[]'",
    },
    "batch_request": {"raw_request": "''", "raw_response": "''"},
    "batch_inference": {"input": "'{}'", "system": "NULL", "input_messages": "'[]'", "raw_request": "''"},
}


async def expire(client: Client, what: Expiring, before: datetime, cluster: str | None) -> int:
    """End what is older; says how many rows that concerned."""
    on = Dialect(cluster).on
    if what == "data":
        return sum([await _empty(client, table, before, on) for table in _EMPTIED])
    if what == "cache":
        asked = Statement()
        return await _delete(client, asked, "inference_cache", f"written_at < {asked.number(before.timestamp())}", on)
    return sum([await _delete_old(client, table, before, on) for table in _DELETED[what]])


async def _delete_old(client: Client, table: str, before: datetime, on: str) -> int:
    asked = Statement()
    return await _delete(client, asked, table, beyond(asked, "<", before_ms(before)), on)


async def _delete(client: Client, asked: Statement, table: str, where: str, on: str) -> int:
    asked.text = f"SELECT count() FROM {table} FINAL WHERE {where}"
    count = int((await client.rows(asked))[0][0])
    if count:
        asked.text = f"DELETE FROM {table}{on} WHERE {where}"
        await client.run(asked, mutations_sync="2", lightweight_deletes_sync="2")
    return count


async def _empty(client: Client, table: str, before: datetime, on: str) -> int:
    asked = Statement()
    columns = _EMPTIED[table]
    full = " OR ".join(
        f"{column} IS NOT NULL" if empty == "NULL" else f"{column} != {empty}" for column, empty in columns.items()
    )
    where = f"{beyond(asked, '<', before_ms(before))} AND ({full})"
    asked.text = f"SELECT count() FROM {table} FINAL WHERE {where}"
    count = int((await client.rows(asked))[0][0])
    if count:
        emptied = ", ".join(f"{column} = {empty}" for column, empty in columns.items())
        asked.text = f"ALTER TABLE {table}{on} UPDATE {emptied} WHERE {where}"
        await client.run(asked, mutations_sync="2")
    return count
