"""Brings the schema of a database from version to version: one transaction per step, one process at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b

from headrace.errors import StoreError
from headrace.storage import SchemaStatus

from .nearest import add_pgvector, lacks_pgvector
from .schema import STEPS, Step
from .server import Connection, Server, quoted

_log = logging.getLogger(__name__)

KNOWN = len(STEPS)


async def status(server: Server) -> SchemaStatus:
    """How the schema stands; changes nothing."""
    async with server.connection("read the schema") as connection:
        return _status(await _version(connection))


async def migrate(server: Server, to: int | None, *, pgvector: bool) -> SchemaStatus:
    """Bring the schema to a version, None is the newest. Raise StoreError, and then stay at the last whole step."""
    wanted = KNOWN if to is None else to
    if not 0 <= wanted <= KNOWN:
        raise StoreError(f"postgres store {server.name}: no schema version {wanted} (known: 0 to {KNOWN})")
    async with server.connection("migrate") as connection, _alone(connection, server.schema):
        found = await _version(connection)
        _refuse_newer(server, found)
        if wanted and not found:
            await _prepare(connection, server.schema)
        for number in range(found, wanted):
            await _up(connection, number)
        for number in reversed(range(wanted, found)):
            await _down(connection, number)
        if wanted and pgvector and await lacks_pgvector(connection):
            await _try_to_add_pgvector(server, connection)
        return _status(wanted)


async def ready(server: Server, *, automatic: bool, pgvector: bool) -> None:
    """Bring the schema up to date if that is wanted. Raise StoreError where it is another one than is known here."""
    async with server.connection("read the schema") as connection:
        found = await _version(connection)
        lacking = pgvector and await lacks_pgvector(connection)
    _refuse_newer(server, found)
    if found < KNOWN and not automatic:
        raise StoreError(
            f"postgres store {server.name}: schema version {found} found, {KNOWN} needed, and "
            "postgres.disable_automatic_migrations is true: run `headrace store migrate`"
        )
    if automatic and (found < KNOWN or lacking):
        await migrate(server, None, pgvector=pgvector)


def _status(found: int) -> SchemaStatus:
    return SchemaStatus(found=found, known=KNOWN, steps=tuple(step.what for step in STEPS))


def _refuse_newer(server: Server, found: int) -> None:
    if found > KNOWN:
        raise StoreError(
            f"postgres store {server.name}: schema version {found} found, this headrace-postgres knows versions up to "
            f"{KNOWN}: upgrade headrace-postgres, or name another schema in postgres.schema_name"
        )


@asynccontextmanager
async def _alone(connection: Connection, schema: str) -> AsyncIterator[None]:
    """Keep others who bring this schema up to date waiting; the lock ends with the connection, however that ends."""
    key = int.from_bytes(blake2b(f"headrace {schema}".encode(), digest_size=8).digest(), "big", signed=True)
    await connection.execute("SELECT pg_advisory_lock($1)", key)
    yield


async def _version(connection: Connection) -> int:
    """0 where there is nothing yet. The search path holds our schema and no other."""
    if await connection.fetchval("SELECT to_regclass('schema_step')") is None:
        return 0
    found: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_step")
    return found


async def _prepare(connection: Connection, schema: str) -> None:
    # Asked first: to create one "if not exists" takes a right that who was given a schema need not have.
    if await connection.fetchval("SELECT to_regnamespace($1)", quoted(schema)) is None:
        await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_step ("
        "version int PRIMARY KEY, what text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )


async def _up(connection: Connection, number: int) -> None:
    step: Step = STEPS[number]
    async with connection.transaction():
        for statement in step.up:
            await connection.execute(statement)
        await connection.execute("INSERT INTO schema_step (version, what) VALUES ($1, $2)", number + 1, step.what)


async def _down(connection: Connection, number: int) -> None:
    step: Step = STEPS[number]
    if step.loses:
        _log.warning("postgres store: going back to schema version %d loses %s", number, step.loses)
    async with connection.transaction():
        for statement in step.down:
            await connection.execute(statement)
        await connection.execute("DELETE FROM schema_step WHERE version = $1", number + 1)


async def _try_to_add_pgvector(server: Server, connection: Connection) -> None:
    try:
        with server.errors("create the extension vector"):
            await add_pgvector(connection)
    except StoreError as error:
        _log.warning("%s; examples are searched by the gateway instead", error)
