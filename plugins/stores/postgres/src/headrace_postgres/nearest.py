"""The nearest examples by cosine: by pgvector where the database has it, otherwise here, over a matrix per variant.

Both are exact. The column holds plain numbers, so that pgvector may come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from headrace.columns import finite_vector
from headrace.records import Example

from .conditions import Sql
from .server import Connection
from .tables import EXAMPLE, uuid

if TYPE_CHECKING:  # numpy costs 100 ms to import, and only variants with examples need it
    import numpy as np
    from numpy.typing import NDArray

    Matrix: TypeAlias = NDArray[np.float32]

# The distances of 32-bit vectors agree to about this many digits; what differs beyond is a tie, settled by id.
_DIGITS: Final = 6
_MOST_DIMENSIONS: Final = 16_000  # of pgvector
# How PostgreSQL sends an array of float4: this many bytes of header, then of each its length and the number itself.
_HEADER_BYTES: Final = 20


class _Known(NamedTuple):
    size: int
    ids: list[UUID]
    directions: Matrix


class Nearest:
    """Searches examples. Without pgvector, 10,000 of 384 dimensions take 15 MB of the gateway's memory."""

    def __init__(self, vector_schema: str | None) -> None:
        """``vector_schema`` is where the extension lives, None if it is not there or not wanted."""
        self._vector_schema = vector_schema
        self._known: dict[tuple[str, str, int], _Known] = {}

    @property
    def has_pgvector(self) -> bool:
        """Whether the database does the work."""
        return self._vector_schema is not None

    @classmethod
    async def of(cls, connection: Connection, *, pgvector: bool) -> Nearest:
        """The best way of the database at hand."""
        schema = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        return cls(await connection.fetchval(schema) if pgvector else None)

    async def find(
        self, connection: Connection, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest of the same dimension, with their distance; equal ones by id."""
        finite_vector(embedding)
        if self._vector_schema is not None and 0 < len(embedding) <= _MOST_DIMENSIONS:
            return await self._ask(connection, function_name, variant_name, embedding, k)
        return await self._search(connection, function_name, variant_name, embedding, k)

    async def _ask(
        self, connection: Connection, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        vector = f"{self._vector_schema}.vector"
        sql = _of(function_name, variant_name, len(embedding))
        wanted = sql.value(list(embedding), "float4[]")
        distance = f"embedding::{vector} OPERATOR({self._vector_schema}.<=>) {wanted}::{vector}"
        # A vector without direction is at distance NaN there, and at distance one here.
        text = (
            f"SELECT {EXAMPLE.columns}, round(least(greatest(coalesce(nullif({distance}, 'NaN'), 1), 0), 2)::numeric,"
            f" {_DIGITS})::float8 AS distance FROM dicl_example{sql} ORDER BY distance, id{sql.page(k)}"
        )
        rows = await connection.fetch(text, *sql.parameters)
        return [(EXAMPLE.records([tuple(row)[:-1]])[0], row[-1]) for row in rows]

    async def _search(
        self, connection: Connection, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        import numpy as np

        known = await self._load(connection, function_name, variant_name, len(embedding))
        wanted = _directions(np.array([embedding], dtype=np.float32))[0]
        distances = np.clip(1 - known.directions @ wanted, 0, 2).astype(np.float64).round(_DIGITS)
        nearest = {known.ids[at]: float(distances[at]) for at in distances.argsort(kind="stable")[:k].tolist()}
        sql = Sql().ids("id", list(nearest))
        rows = await connection.fetch(f"SELECT {EXAMPLE.columns} FROM dicl_example{sql}", *sql.parameters)
        found = {example.id: example for example in EXAMPLE.records(rows)}
        return [(found[id_], distance) for id_, distance in nearest.items()]

    async def _load(self, connection: Connection, function_name: str, variant_name: str, dimension: int) -> _Known:
        import numpy as np

        key = (function_name, variant_name, dimension)
        sql = _of(function_name, variant_name, dimension)
        # Asked each time, as another process may have written; examples never change, so a number says enough.
        size = await connection.fetchval(f"SELECT count(*) FROM dicl_example{sql}", *sql.parameters)
        known = self._known.get(key)
        if known is None or known.size != size:
            text = f"SELECT id, array_send(embedding) FROM dicl_example{sql} ORDER BY id"
            rows = await connection.fetch(text, *sql.parameters)
            sent = np.frombuffer(b"".join(packed[_HEADER_BYTES:] for _, packed in rows), dtype=">f4")
            vectors: Any = sent.reshape(len(rows), dimension, 2)[:, :, 1].astype(np.float32)
            known = _Known(len(rows), [uuid(id_) for id_, _ in rows], _directions(vectors))
            self._known[key] = known
        return known


async def count(connection: Connection, function_name: str, variant_name: str) -> int:
    """How many examples a variant has."""
    sql = Sql().name("function_name", function_name).name("variant_name", variant_name)
    found: int = await connection.fetchval(f"SELECT count(*) FROM dicl_example{sql}", *sql.parameters)
    return found


async def lacks_pgvector(connection: Connection) -> bool:
    """Whether the server has pgvector, and this database has not yet."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector' AND installed_version IS NULL)"
    )
    return found


async def add_pgvector(connection: Connection) -> None:
    """Create the extension, in the schema where others who share the database expect it."""
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")


def _of(function_name: str, variant_name: str, dimension: int) -> Sql:
    sql = Sql().name("function_name", function_name).name("variant_name", variant_name)
    return sql.where(f"cardinality(embedding) = {sql.value(dimension, 'bigint')}")


def _directions(vectors: Matrix) -> Matrix:
    """Vectors of length one; without a direction they stay zero, which is at distance one from everything."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return directions
