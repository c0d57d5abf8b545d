"""Reads an old Postgres, in pages by key, with asyncpg: where that is not installed, an error says what to install."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from .tables import Row, SourceError, Table

_COLUMNS: Final = (
    "SELECT table_schema::text, table_name::text, column_name::text FROM information_schema.columns "
    "WHERE table_schema IN ('tensorzero', 'public')"
)
_LOST = (OSError, TimeoutError)


class Postgres:
    """A database at ``postgres://USER:PASSWORD@HOST:PORT/DATABASE``; ``open`` makes one. Nothing in it is changed."""

    def __init__(self, connection: Any, where: str, failures: tuple[type[Exception], ...], page: int) -> None:
        self._connection = connection
        self._where = where
        self._failures = failures
        self._page = page
        self._columns: dict[tuple[str, str], set[str]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, page: int) -> AsyncIterator[Postgres]:
        """Connect, and see what tables there are. Raise SourceError; no message has the password."""
        try:
            asyncpg: Any = import_module("asyncpg")
        except ImportError as error:
            raise SourceError("--postgres-url: needs asyncpg: `pip install headrace-postgres`") from error
        if not url.startswith(("postgres://", "postgresql://")):
            raise SourceError("--postgres-url: must be postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        failures = (asyncpg.PostgresError, asyncpg.InterfaceError, *_LOST)
        where = f"Postgres at {_address(url)}"
        try:
            settings = {"default_transaction_read_only": "on", "timezone": "UTC"}
            connection = await asyncpg.connect(url, server_settings=settings, timeout=30)
        except (*failures, ValueError) as error:
            # What asyncpg says of an address that it cannot read may hold the password.
            said = f": {error}" if isinstance(error, (asyncpg.PostgresError, OSError)) else ""
            raise SourceError(f"{where}: cannot connect: {type(error).__name__}{said}") from None
        try:
            source = cls(connection, where, failures, page)
            await source._look()
            yield source
        finally:
            await connection.close(timeout=10)

    async def has(self, table: Table) -> bool:
        """Whether it has this table."""
        return (table.schema, table.postgres) in self._columns

    async def rows(self, table: Table) -> AsyncGenerator[Row, None]:
        """All rows of a table in the order of its key, each page of the moment it is read. Raise SourceError."""
        select, key = self._select(table), f"m.{_quoted(table.key)}"
        order = f"ORDER BY {key} LIMIT {self._page:d}"
        page = await self._fetch(f"{select} {order}")
        while page:
            for row in page:
                yield dict(row)
            page = await self._fetch(f"{select} WHERE {key} > $1 {order}", page[-1][table.key])

    def _select(self, table: Table) -> str:
        own = self._columns[table.schema, table.postgres]
        payload = self._columns.get((table.schema, table.payload or ""), set())
        chosen = []
        for name in table.columns:
            if side := "m" if name in own else "d" if name in payload else "":
                cast = "::text" if name == "embedding" else ""  # pgvector's type is unknown to asyncpg
                chosen.append(f"{side}.{_quoted(name)}{cast} AS {_quoted(name)}")
        sql = f"SELECT {', '.join(chosen)} FROM {_quoted(table.schema)}.{_quoted(table.postgres)} m"
        if payload:
            on = f"d.{_quoted(table.key)} = m.{_quoted(table.key)} AND d.created_at = m.created_at"
            sql += f" LEFT JOIN {_quoted(table.schema)}.{_quoted(table.payload or '')} d ON {on}"
        return sql

    async def _look(self) -> None:
        for schema, table, column in await self._fetch(_COLUMNS):
            self._columns.setdefault((schema, table), set()).add(column)
        if not any(schema == "tensorzero" for schema, _ in self._columns):
            raise SourceError(f"{self._where}: has no tables of TensorZero; is it the right database?")

    async def _fetch(self, sql: str, *values: object) -> list[Any]:
        try:
            return list(await self._connection.fetch(sql, *values))
        except self._failures as error:
            raise SourceError(f"{self._where}: {type(error).__name__}: {error}") from error


def _address(url: str) -> str:
    """What may be said of a URL: neither user nor password."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname or 'its default host'}{port}, database {parts.path.strip('/') or '(default)'}"
    except ValueError:
        return "--postgres-url"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
