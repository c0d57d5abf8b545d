"""Connections to one server; while it is away nobody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, TypeAlias

import anyio
import anyio.abc
from headrace.errors import ConfigError, StoreError
from sniffio import current_async_library
from valkey.asyncio import ConnectionPool
from valkey.asyncio.connection import AbstractConnection
from valkey.exceptions import NoScriptError, ResponseError, ValkeyError

from .settings import shown, tls

log = logging.getLogger(__name__)

Word: TypeAlias = str | bytes | int

MAX_CONNECTIONS = 32
# Of one command, connecting included. An entry of some MB takes milliseconds; who takes longer is not well.
TIMEOUT_S = 2.0
# How often a server that is away is asked whether it is back.
_ASK_AGAIN_S = 0.5


class Away(StoreError):
    """The server does not answer. The log has one line of it, and will have another when the server is back."""


class Script:
    """A Lua script, which the server remembers by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.hash = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Server:
    """A server by its URL. An async context manager, which opens though the server be away: it may come back.

    The first command that gets no answer says so in the log. From then on every command fails at once, in
    microseconds, until the server has answered a task of ours. Raises ``StoreError``.
    """

    def __init__(self, url: str, *, meanwhile: str) -> None:
        """``meanwhile`` is what the log says of the time without it."""
        self._name = shown(url)
        self._meanwhile = meanwhile
        # Only makes connections: valkey-py's own pool loses one whose user is cancelled while it gives it back. Time
        # is bounded here, and nothing is tried twice: a script that may have run would run again.
        self._pool = ConnectionPool.from_url(url, socket_timeout=None, socket_connect_timeout=None, **tls(url))
        self._idle: list[AbstractConnection] = []
        self._room = anyio.Semaphore(MAX_CONNECTIONS, fast_acquire=True)
        self._away = ""
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Server:
        """Open. Raise ConfigError on trio; raise StoreError if the server refuses us."""
        if current_async_library() != "asyncio":
            raise ConfigError(f"{self._name}: valkey-py, and so headrace-valkey, runs on asyncio only")
        self._tasks = await anyio.create_task_group().__aenter__()
        try:
            await self.ping()
        except Away:
            pass  # the log says it
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
        await self._forget()

    async def ask(self, *words: Word) -> Any:
        """What the server answers to a command. Raise Away, or StoreError for what it refuses."""
        self._check()
        async with self._room:
            self._check()  # who waited for room did so while others may have found out
            try:
                return await self._answer(words)
            except NoScriptError:
                raise
            except ResponseError as error:
                raise StoreError(f"{self._name} refuses {words[0]!r}: {error}") from None
            except (ValkeyError, OSError) as error:  # a TimeoutError is an OSError
                raise await self._lost(error) from None

    async def run(self, script: Script, *words: Word) -> Any:
        """What a script answers; ``words`` begin with the number of keys."""
        try:
            return await self.ask("EVALSHA", script.hash, *words)
        except NoScriptError:  # a server that was started again, or a replica that took over
            return await self.ask("EVAL", script.text, *words)

    async def ping(self) -> None:
        """Return if the server answers."""
        await self.ask("PING")

    async def _answer(self, words: Sequence[Word]) -> Any:
        connection: AbstractConnection
        connection = self._idle.pop() if self._idle else self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            with anyio.fail_after(TIMEOUT_S):
                # The server may have hung up since; to find out now is better than in the middle of a script.
                if connection.is_connected and await connection.can_read_destructive():
                    await connection.disconnect(nowait=True)
                await connection.send_command(*words)  # connects first where need be
                reply = await connection.read_response()
        except ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:  # of cancellation too: the reply is still to come, and is not for the next one
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return reply

    def _check(self) -> None:
        if self._tasks is None:
            raise StoreError(f"{self._name}: not open")
        if self._away:
            raise Away(self._away)

    async def _lost(self, error: Exception) -> Away:
        """Note that the server is away, and look for it from now on."""
        told = f"{self._name} does not answer: {str(error) or f'nothing within {TIMEOUT_S:g} s'}"
        if not self._away and self._tasks is not None:
            self._away = told
            log.warning("%s; until it does, %s", told, self._meanwhile)
            self._tasks.start_soon(self._look)
            await self._forget()
        return Away(told)

    async def _look(self) -> None:
        while True:
            try:
                await self._answer(["PING"])
                break
            except (ValkeyError, OSError):
                await anyio.sleep(_ASK_AGAIN_S)
        self._away = ""
        log.warning("%s answers again", self._name)

    async def _forget(self) -> None:
        """Close what nobody uses."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)
