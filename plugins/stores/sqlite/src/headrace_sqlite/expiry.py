"""What ends by age: payloads are emptied, rows deleted, piece by piece, so that others can write in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from headrace.queries import Expiring
from headrace.types import Input

from .rows import BATCH_INFERENCE, BATCH_REQUEST, INFERENCE, MODEL_INFERENCE, Table
from .where import first_id

# Rows that one transaction changes.
_PIECE: Final = 1000

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

# What emptied fields have then: None where the record knows it, otherwise the empty value of their kind.
_EMPTIED: Final[tuple[tuple[Table[Any], dict[str, Any]], ...]] = (
    (INFERENCE, {"input": None, "output": None, "auxiliary_content": ()}),
    (MODEL_INFERENCE, {"raw_request": "", "raw_response": "", "system": None, "input_messages": (), "output": ()}),
    (BATCH_REQUEST, {"raw_request": "", "raw_response": ""}),
    (BATCH_INFERENCE, {"input": Input(), "system": None, "input_messages": (), "raw_request": ""}),
)


class Ending(NamedTuple):
    """One table's part. ``key`` tells rows apart; ``change`` is for those that are old from ``:first`` to ``:last``."""

    table: str
    key: str
    is_old: str
    change: str
    parameters: dict[str, Any]

    def piece(self, connection: sqlite3.Connection, after: bytes | str | None) -> dict[str, Any] | None:
        """The parameters of the change for the next rows beyond a key (None: from the first one on), if there are."""
        beyond = "" if after is None else f"{self.key} > :after AND "
        sql = f"""SELECT min({self.key}), max({self.key}) FROM (
            SELECT {self.key} FROM {self.table} WHERE {beyond}{self.is_old} ORDER BY {self.key} LIMIT {_PIECE})"""
        first, last = connection.execute(sql, {**self.parameters, "after": after}).fetchone()
        return None if first is None else {**self.parameters, "first": first, "last": last}


def endings(what: Expiring, before: datetime) -> Iterator[Ending]:
    """The parts of what is to end."""
    if what == "cache":
        yield _deletion("inference_cache", "key", "written_at < :before", before.timestamp())
    for table in _DELETED.get(what, ()):
        yield _deletion(table, "id", "id < :before", first_id(before))
    for kind, fields in _EMPTIED if what == "data" else ():
        stored = kind.stored(fields)
        is_old = f"id < :before AND ({' OR '.join(f'{name} IS NOT :{name}' for name in stored)})"
        settings = ", ".join(f"{name} = :{name}" for name in stored)
        change = f"UPDATE {kind.name} SET {settings} WHERE id BETWEEN :first AND :last AND {is_old}"
        yield Ending(kind.name, "id", is_old, change, {"before": first_id(before), **stored})


def _deletion(table: str, key: str, is_old: str, before: bytes | float) -> Ending:
    change = f"DELETE FROM {table} WHERE {key} BETWEEN :first AND :last AND {is_old}"
    return Ending(table, key, is_old, change, {"before": before})
