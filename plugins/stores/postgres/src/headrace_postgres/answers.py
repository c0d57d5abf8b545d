"""Answers of model calls by key."""

from __future__ import annotations

from .conditions import Sql
from .server import Connection


async def cached(connection: Connection, key: str, written_after: float) -> bytes | None:
    """The entry of this key, if it was written after that instant (seconds since the epoch)."""
    sql = Sql().equal("key", key)
    sql.where(f"written_at > {sql.value(written_after, 'float8')}")
    found: bytes | None = await connection.fetchval(f"SELECT entry FROM inference_cache{sql}", *sql.parameters)
    return found


async def cache(connection: Connection, key: str, written_at: float, entry: bytes) -> None:
    """Keep the entry, in place of one that is there."""
    sql = Sql()
    values = [sql.value(key, "text"), sql.value(written_at, "float8"), sql.value(entry, "bytea")]
    await connection.execute(
        f"INSERT INTO inference_cache (key, written_at, entry) VALUES ({', '.join(values)})"
        " ON CONFLICT (key) DO UPDATE SET written_at = EXCLUDED.written_at, entry = EXCLUDED.entry",
        *sql.parameters,
    )
