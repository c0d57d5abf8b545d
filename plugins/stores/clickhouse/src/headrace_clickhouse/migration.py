"""Brings the schema of a database to a version, one starter at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from headrace.errors import StoreError
from headrace.storage import SchemaStatus

from .client import TABLE_ALREADY_EXISTS, UNKNOWN_DATABASE, UNKNOWN_TABLE, Client, Refusal
from .schema import STEPS, Dialect, Step, version_table
from .sql import Statement

_LOG = logging.getLogger(__name__)
_LOCK = "schema_migration_lock"
# Who has the lock says so in it this often. A lock in which nobody has said anything for so long, by the clock of who
# waits, is of a process that died. Were two at once, it would do no harm forward, as every statement may be done again;
# back and forward at once would.
_RENEWED_EVERY_S = 1.0
_LOCK_LASTS_S = 6.0
_WAITS_SILENTLY_S = 1.0


class Migration:
    """The schema of one database. ``steps`` are those that are known."""

    def __init__(self, client: Client, cluster: str | None, steps: tuple[Step, ...] = STEPS) -> None:
        self._client = client
        self._dialect = Dialect(cluster)
        self._steps = steps

    async def status(self) -> SchemaStatus:
        """How the schema stands; changes nothing."""
        return SchemaStatus(
            found=await self._found(), known=len(self._steps), steps=tuple(step.says for step in self._steps)
        )

    async def check(self) -> None:
        """Raise StoreError unless the schema is the newest that is known."""
        found = await self._found()
        self._refuse_newer(found)
        if found < len(self._steps):
            raise StoreError(
                f"clickhouse store {self._client.where}: schema version {found} found, {len(self._steps)} needed, and"
                " migrations are not automatic here: run `headrace store migrate`"
            )

    async def run(self, to: int | None = None) -> SchemaStatus:
        """Go to a version; None is the newest."""
        wanted = len(self._steps) if to is None else to
        if not 0 <= wanted <= len(self._steps):
            raise StoreError(
                f"clickhouse store {self._client.where}: no schema version {wanted} (known: 0 to {len(self._steps)})"
            )
        if await self._found() != wanted:
            # Not by IF NOT EXISTS alone: who may not make databases may still be given one.
            if not await self._has_database():
                await self._client.run(
                    f"CREATE DATABASE IF NOT EXISTS `{self._client.database}`{self._dialect.on}", database=""
                )
            async with self._locked():
                await self._go_and_renew(wanted)
        return await self.status()

    async def _go_and_renew(self, wanted: int) -> None:
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew)
            try:
                await self._go(wanted)
            except Exception as error:  # out of the group, which would wrap it
                failed = error
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _renew(self) -> None:
        while True:
            # Whoever migrates meets the same trouble, and knows better what to make of it.
            with suppress(StoreError):
                await self._client.insert(f"{_LOCK} (held)", [[True]])
            await anyio.sleep(_RENEWED_EVERY_S)

    async def _go(self, wanted: int) -> None:
        found = await self._found()
        self._refuse_newer(found)
        if found != wanted:
            await self._client.run(version_table(self._dialect))
        for version in range(found, wanted):
            for statement in self._steps[version].forward(self._dialect):
                await self._client.run(statement)
            await self._note(version + 1)
        for version in range(found, wanted, -1):
            step = self._steps[version - 1]
            _LOG.warning("%s: going back to schema version %d loses %s", self._client.where, version - 1, step.loses)
            # First the number: whoever is interrupted here goes forward over tables that are still there.
            await self._note(version - 1)
            for statement in step.back(self._dialect):
                await self._client.run(statement)

    def _refuse_newer(self, found: int) -> None:
        if found > len(self._steps):
            raise StoreError(
                f"clickhouse store {self._client.where}: schema version {found} found, this headrace-clickhouse knows"
                f" versions up to {len(self._steps)}: upgrade headrace-clickhouse, or name another database"
            )

    async def _found(self) -> int:
        try:
            rows = await self._client.rows("SELECT count(), argMax(version, applied_at) FROM schema_migration")
        except Refusal as error:
            if error.code in (UNKNOWN_DATABASE, UNKNOWN_TABLE):
                return 0
            raise
        count, version = rows[0]
        return int(version) if count else 0

    async def _note(self, version: int) -> None:
        await self._client.insert("schema_migration (version)", [[version]])

    async def _has_database(self) -> bool:
        asked = Statement()
        asked.text = f"SELECT count() FROM system.databases WHERE name = {asked.string(self._client.database)}"
        try:
            return bool((await self._client.rows(asked))[0][0])
        except Refusal as error:
            if error.code == UNKNOWN_DATABASE:
                return False
            raise

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Alone, among all that use this server: to create a table that is there is refused, whoever tries."""
        began = changed = time.monotonic()
        seen: list[Any] | None = None
        has_told = False
        while True:
            try:
                await self._client.run(f"CREATE TABLE {_LOCK} (held Bool) ENGINE = Memory")
                break
            except Refusal as error:
                if error.code != TABLE_ALREADY_EXISTS:
                    raise
            said, now = await self._said_in_lock(), time.monotonic()
            if said != seen:
                seen, changed = said, now
            elif now - changed > _LOCK_LASTS_S:
                _LOG.warning("%s: the migration that went on there is dead: going on in its place", self._client.where)
                await self._client.run(f"DROP TABLE IF EXISTS {_LOCK} SYNC")
                continue
            if not has_told and now - began > _WAITS_SILENTLY_S:
                has_told = True
                _LOG.warning(
                    "%s: waiting for another migration to end; one that gives no sign for %g s counts as dead",
                    self._client.where,
                    _LOCK_LASTS_S,
                )
            await anyio.sleep(0.1)
        try:
            yield
        finally:
            with anyio.move_on_after(10, shield=True):
                await self._client.run(f"DROP TABLE IF EXISTS {_LOCK} SYNC")

    async def _said_in_lock(self) -> list[Any] | None:
        """Which lock it is, and how often it was renewed; None is no lock any more."""
        asked = Statement()
        asked.text = (
            "SELECT uuid, total_rows FROM system.tables"
            f" WHERE database = {asked.string(self._client.database)} AND name = {asked.string(_LOCK)}"
        )
        rows = await self._client.rows(asked)
        return rows[0] if rows else None
