"""What ends by age: payloads are emptied, rows deleted, some thousands at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from headrace.columns import json_text
from headrace.queries import Expiring
from headrace.types import Input

from .conditions import first_id
from .server import Pool

# So few that no transaction lasts long, and none of those who write waits for one.
_ROWS: Final = 5_000

_DELETED: Final[dict[Expiring, tuple[str, ...]]] = {
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

# What the emptied columns hold then: NULL where the field knows it, otherwise the empty value of its kind.
_EMPTIED: Final[dict[str, dict[str, str | None]]] = {
    "inference": {"input": None, "output": None, "auxiliary_content": "[]"},
    "model_inference": {
        "raw_request": "",
        "raw_response": "",
        "system": None,
        "input_messages": "[]",
        "output": "[]",
    },
    "batch_request": {"raw_request": "", "raw_response": ""},
    "batch_inference": {"input": json_text(Input()), "system": None, "input_messages": "[]", "raw_request": ""},
}


async def expire(pool: Pool, what: Expiring, before: datetime) -> int:
    """End what is older than ``before``; says how many rows that changed."""
    if what == "cache":
        return await _delete_cached(pool, before.timestamp())
    if what == "data":
        return sum([await _end(pool, table, before, emptied) for table, emptied in _EMPTIED.items()])
    return sum([await _end(pool, table, before, {}) for table in _DELETED.get(what, ())])


async def _end(pool: Pool, table: str, before: datetime, emptied: dict[str, str | None]) -> int:
    """Empty these columns of the older rows; delete the rows where there are none."""
    marks = {column: f"${n + 2}::text" for n, column in enumerate(emptied)}
    full = " OR ".join(f"{column} IS DISTINCT FROM {mark}" for column, mark in marks.items()) or "TRUE"
    bound = len(marks) + 2
    # Whoever else is at it has locked some rows: he deals with those.
    old = (
        f"SELECT id FROM {table} WHERE id < $1 AND id > ${bound} AND ({full})"
        f" ORDER BY id LIMIT {_ROWS} FOR UPDATE SKIP LOCKED"
    )
    changes = ", ".join(f"{column} = {mark}" for column, mark in marks.items())
    verb = f"UPDATE {table} SET {changes}" if emptied else f"DELETE FROM {table}"
    arguments = [first_id(before), *emptied.values()]
    # With which id to go on, so that no round looks at the rows of those before it.
    text = (
        f"WITH old AS ({old}), ended AS ({verb} WHERE id IN (SELECT id FROM old) RETURNING id)"
        " SELECT count(*), (array_agg(id ORDER BY id DESC))[1] FROM ended"
    )
    changed = 0
    last = UUID(int=0)
    while True:
        async with pool.writing() as connection:
            done, reached = await connection.fetchrow(text, *arguments, last)
        changed += int(done)
        if done < _ROWS:
            return changed
        last = reached


async def _delete_cached(pool: Pool, before_s: float) -> int:
    old = f"SELECT key FROM inference_cache WHERE written_at < $1 LIMIT {_ROWS} FOR UPDATE SKIP LOCKED"
    changed = 0
    while True:
        async with pool.writing() as connection:
            answer = await connection.execute(f"DELETE FROM inference_cache WHERE key IN ({old})", before_s)
        done = int(answer.rpartition(" ")[2])
        changed += done
        if done < _ROWS:
            return changed
