"""The nearest examples by cosine, over a matrix per variant that is read again when the variant has new ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID

from headrace.records import Example

from .queries import select
from .rows import EXAMPLE
from .where import Where

if TYPE_CHECKING:  # numpy costs 100 ms to import, and only variants with examples need it
    import numpy as np
    from numpy.typing import NDArray

    Matrix: TypeAlias = NDArray[np.float32]

# The distances of 32-bit vectors agree to about this many digits; what differs beyond is a tie, settled by id.
_DIGITS = 6


class _Known(NamedTuple):
    version: tuple[int, int]
    ids: list[UUID]
    directions: Matrix


class Nearest:
    """Searches examples. 10,000 of 384 dimensions take 15 MB."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], _Known] = {}

    def find(
        self, connection: sqlite3.Connection, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest of the same dimension, with their distance; equal ones by id."""
        import numpy as np

        known = self._load(connection, function_name, variant_name, len(embedding))
        wanted = _directions(np.array([embedding], dtype=np.float32))[0]
        distances = np.clip(1 - known.directions @ wanted, 0, 2).round(_DIGITS)
        nearest = {known.ids[at]: float(distances[at]) for at in distances.argsort(kind="stable")[:k].tolist()}
        found = {example.id: example for example in select(connection, EXAMPLE, Where().among("id", list(nearest)))}
        return [(found[id_], distance) for id_, distance in nearest.items()]

    def _load(self, connection: sqlite3.Connection, function_name: str, variant_name: str, dimension: int) -> _Known:
        import numpy as np

        key = (function_name, variant_name, dimension)
        # Asked each time, as another process may have written.
        version = _version(connection, function_name, variant_name)
        known = self._known.get(key)
        if known is None or known.version != version:
            rows = connection.execute(
                "SELECT id, embedding FROM dicl_example"
                " WHERE function_name = ? AND variant_name = ? AND length(embedding) = ? ORDER BY id",
                (function_name, variant_name, 4 * dimension),
            ).fetchall()
            vectors = np.frombuffer(b"".join(packed for _, packed in rows), dtype="<f4").reshape(len(rows), dimension)
            known = _Known(version, [UUID(bytes=id_) for id_, _ in rows], _directions(vectors))
            self._known[key] = known
        return known


def count(connection: sqlite3.Connection, function_name: str, variant_name: str) -> int:
    """How many examples a variant has."""
    return _version(connection, function_name, variant_name)[0]


def _version(connection: sqlite3.Connection, function_name: str, variant_name: str) -> tuple[int, int]:
    sql = "SELECT count(*), max(rowid) FROM dicl_example WHERE function_name = ? AND variant_name = ?"
    found: tuple[int, int] = connection.execute(sql, (function_name, variant_name)).fetchone()
    return found


def _directions(vectors: Matrix) -> Matrix:
    """Vectors of length one; without a direction they stay zero, which is at distance one from everything."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return directions
