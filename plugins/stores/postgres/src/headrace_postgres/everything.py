"""Records of every kind: by id, in pages, and the few that are asked for in one way only."""

from __future__ import annotations

from typing import Any, TypeVar, cast
from uuid import UUID

from headrace.records import ApiKey, BatchInference, BatchRequest, ConfigSnapshot, Record

from .conditions import Sql
from .server import Connection
from .tables import API_KEY, BATCH_INFERENCE, BATCH_REQUEST, CONFIG_SNAPSHOT, TABLES, Table

R = TypeVar("R", bound=Record)


async def find(connection: Connection, id_: UUID) -> list[Record]:
    """Every record of this id: which tables have one is asked first, since nearly all have none."""
    tables = {table.name: table for table in TABLES.values() if table.key == "id"}
    asked = " UNION ALL ".join(f"SELECT '{name}' FROM {name} WHERE id = $1" for name in tables)
    found: list[Record] = []
    for (name,) in await connection.fetch(asked, id_):
        table: Table[Record] = tables[name]
        found += table.records(await connection.fetch(f"SELECT {table.columns} FROM {name} WHERE id = $1", id_))
    return found


async def scan(connection: Connection, kind: type[R], after: str, limit: int) -> list[R]:
    """Those of one kind in the order of their keys, from the first beyond ``after`` on."""
    table: Table[R] = cast(Any, TABLES)[kind]
    sql = Sql()
    if table.key == "hash":
        sql.where(f"hash > {sql.value(after, 'text')}")
    elif after:
        sql.where(_beyond(sql, after))
    text = f'SELECT {table.columns} FROM {table.name}{sql} ORDER BY "{table.key}"{sql.page(limit)}'
    return table.records(await connection.fetch(text, *sql.parameters))


def _beyond(sql: Sql, after: str) -> str:
    """That an id comes after a text, which hardly ever is not an id itself."""
    try:
        id_ = UUID(after)
    except ValueError:
        id_ = None
    if id_ is not None and str(id_) == after:
        return f"id > {sql.value(id_, 'uuid')}"
    return f'id::text COLLATE "C" > {sql.value(after, "text")}'


async def config_snapshot(connection: Connection, hash_: str) -> ConfigSnapshot | None:
    """The one of this hash."""
    sql = Sql().equal("hash", hash_)
    text = f"SELECT {CONFIG_SNAPSHOT.columns} FROM config_snapshot{sql}"
    found = CONFIG_SNAPSHOT.records(await connection.fetch(text, *sql.parameters))
    return found[0] if found else None


async def api_key(connection: Connection, public_id: str) -> ApiKey | None:
    """The last updated one of this public id."""
    sql = Sql().name("public_id", public_id)
    text = f"SELECT {API_KEY.columns} FROM api_key{sql} ORDER BY updated_at DESC, id DESC LIMIT 1"
    found = API_KEY.records(await connection.fetch(text, *sql.parameters))
    return found[0] if found else None


async def batch_request(connection: Connection, batch_id: UUID) -> BatchRequest | None:
    """The newest row that is not pending, or else the newest."""
    sql = Sql().equal("batch_id", batch_id)
    order = "status = 'pending', id DESC LIMIT 1"
    text = f"SELECT {BATCH_REQUEST.columns} FROM batch_request{sql} ORDER BY {order}"
    found = BATCH_REQUEST.records(await connection.fetch(text, *sql.parameters))
    return found[0] if found else None


async def batch_inferences(connection: Connection, batch_id: UUID) -> list[BatchInference]:
    """Smallest id first."""
    sql = Sql().equal("batch_id", batch_id)
    text = f"SELECT {BATCH_INFERENCE.columns} FROM batch_inference{sql} ORDER BY id"
    return BATCH_INFERENCE.records(await connection.fetch(text, *sql.parameters))
