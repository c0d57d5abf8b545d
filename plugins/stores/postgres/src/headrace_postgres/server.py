"""Connections to one database; the only module that knows asyncpg, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import anyio
import asyncpg
from headrace.errors import RecordRefused, StoreError

from .settings import Settings

# asyncpg has no types: these are asyncpg.Connection and asyncpg.Record.
Connection: TypeAlias = Any
Row: TypeAlias = Sequence[Any]

_CONNECT = "connect"
_CONNECT_TIMEOUT_S = 10
_RELEASE_TIMEOUT_S = 5
_SEARCH_PATH = "search_path"
_UNREADABLE = "(a URL that cannot be read)"

# What no later attempt would cure: the classes of SQLSTATE "data exception", "integrity constraint violation" and
# "program limit exceeded" (a key that is too long for its index). 54001 is a matter of the server's stack.
_FOR_GOOD = ("22", "23", "54000")
_TROUBLES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_BAD_VALUES = (TypeError, ValueError, OverflowError, RecursionError)


class Server:
    """One database, and in it one schema. ``name`` is its address without user and password."""

    def __init__(self, settings: Settings) -> None:
        """Does not connect."""
        self._settings = settings
        self.schema = settings.schema_name
        self.name, self._secrets = _address(settings.url)

    @asynccontextmanager
    async def connection(self, what: str) -> AsyncIterator[Connection]:
        """A connection of its own, without a time limit, for what takes long. Raise StoreError."""
        self._need_asyncio()
        with self.errors(_CONNECT):
            connection = await asyncpg.connect(**self._options(command_timeout=None))
        try:
            with self.errors(what):
                yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await _close(connection)

    async def open_pool(self) -> Pool:
        """A pool that connects when it is asked for something. Raise StoreError."""
        self._need_asyncio()
        with self.errors(_CONNECT):
            pool = await asyncpg.create_pool(
                # With any floor, asyncpg logs a traceback for each attempt to restore it while the server is away.
                min_size=0,
                max_size=self._settings.connection_pool_size,
                **self._options(command_timeout=self._settings.command_timeout_s),
            )
        return Pool(self, pool)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn what asyncpg raises into StoreError; where records are written, into RecordRefused what is for good."""
        try:
            yield
        except (*_TROUBLES, *_BAD_VALUES) as error:
            kind = RecordRefused if what == "write" and _is_for_good(error) else StoreError
            # Without its cause: the text of that one has not been cleaned of the password.
            raise kind(f"postgres store {self.name}: cannot {what}: {self._explain(error, what)}") from None

    def _explain(self, error: BaseException, what: str) -> str:
        """The error in one line, without password."""
        if isinstance(error, asyncpg.ClientConfigurationError) or (what == _CONNECT and isinstance(error, ValueError)):
            return "postgres.url is not a URL of the form postgresql://user:password@host:5432/database"
        text = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        hint = {
            "42P01": "; its tables are missing: run `headrace store migrate`",
            "3D000": "; create it",
            "53100": "; free space on the server's disk",
        }
        return text + hint.get(getattr(error, "sqlstate", None) or "", "")

    def _need_asyncio(self) -> None:
        """Raise StoreError on any other event loop, which asyncpg does not know."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise StoreError(f"postgres store {self.name}: it runs on asyncio only, not on trio") from None

    def _options(self, **more: Any) -> dict[str, Any]:
        return {
            "dsn": self._settings.url,
            "timeout": _CONNECT_TIMEOUT_S,
            "server_settings": {
                "application_name": "headrace",
                _SEARCH_PATH: quoted(self.schema),
                "timezone": "UTC",
                # A plan for the values at hand: a metric that one in 10,000 meets wants another one than a common one.
                "plan_cache_mode": "force_custom_plan",
                "jit": "off",
            },
            **more,
        }


class Pool:
    """The connections of an open store."""

    def __init__(self, server: Server, pool: Any) -> None:
        self._server = server
        self._pool = pool

    async def check(self) -> None:
        """Raise StoreError where the database cannot hold records, or a pooler has changed what we asked for."""
        async with self.reading() as connection:
            path, encoding = await connection.fetchrow(
                "SELECT current_setting('search_path'), current_setting('server_encoding')"
            )
        where = f"postgres store {self._server.name}"
        if encoding != "UTF8":
            raise StoreError(f"{where}: its encoding is {encoding}: create a database with ENCODING 'UTF8'")
        if path != quoted(self._server.schema):
            raise StoreError(
                f"{where}: search_path is {path}, not {quoted(self._server.schema)} as asked for: what stands between "
                "(PgBouncer?) drops settings of a session; name the server itself in postgres.url"
            )

    @asynccontextmanager
    async def reading(self, what: str = "read") -> AsyncIterator[Connection]:
        """A connection to read with, or for one statement that does all ``what`` says. Raise StoreError."""
        with self._server.errors(what):
            async with self._connection() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A connection on which several reads see the same rows. Raise StoreError."""
        with self._server.errors("read"):
            async with self._transaction(isolation="repeatable_read", readonly=True) as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection in a transaction that is durable once it is left without an error.

        Raise RecordRefused for values that can never be written, StoreError for all else.
        """
        with self._server.errors("write"):
            async with self._transaction() as connection:
                # A database may have been told not to wait for its disk; records are worth the wait.
                await connection.execute(
                    "SELECT set_config('synchronous_commit', 'on', true)"
                    " WHERE current_setting('synchronous_commit') = 'off'"
                )
                yield connection

    async def close(self) -> None:
        """Wait for those who still use a connection, then close all; be done with it if that takes too long."""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._pool.close()
        except _TROUBLES:
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            # To bring it in order is to ask the server, which may have fallen silent: the pool ends it then.
            with anyio.CancelScope(shield=True), suppress(*_TROUBLES):
                await self._pool.release(connection, timeout=_RELEASE_TIMEOUT_S)

    @asynccontextmanager
    async def _transaction(self, **how: Any) -> AsyncIterator[Connection]:
        async with self._connection() as connection:
            transaction = connection.transaction(**how)
            await transaction.start()
            try:
                yield connection
                await transaction.commit()
            except TimeoutError:
                raise
            except Exception:
                with anyio.CancelScope(shield=True), suppress(*_TROUBLES):
                    if connection.is_in_transaction():
                        await transaction.rollback()
                raise


def quoted(name: str) -> str:
    """The name of a schema or an extension's schema as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _is_for_good(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_FOR_GOOD)
    return isinstance(error, _BAD_VALUES)


def _address(url: str) -> tuple[str, list[str]]:
    """Host, port and database of a URL; and what must not be shown of it."""
    try:
        parts = urlsplit(url)
        password, port = parts.password or "", parts.port
    except ValueError:
        return _UNREADABLE, [url]
    if parts.scheme not in ("postgres", "postgresql"):
        return _UNREADABLE, [url]
    # `?password=` and `?host=` are allowed as well; a message then says less.
    hidden = [each for each in (url, password, unquote(password), parts.query) if each]
    return f"{parts.hostname or '(default host)'}:{port or 5432}{parts.path}", hidden


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=_CONNECT_TIMEOUT_S)
    except _TROUBLES:
        connection.terminate()
