"""The child process seen from the gateway: started, watched, started again when it died, and stopped."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from headrace.errors import ProviderError
from msgspec import Struct

_log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("child.py")
_STOP_S = 5.0  # a child whose standard input has closed exits at once, unless the machine is very busy
_DEATH_S = 0.5  # between a killed child's sockets closing and its being gone


class Plan(Struct, frozen=True):
    """What the child is told: all of it, so that the same plan gives the same server."""

    path: str
    n_ctx: int
    n_parallel: int
    threads: int
    batch_threads: int
    embeddings: bool
    chat_template: str | None = None


class Server:
    """llama.cpp with one model, in a process that cannot outlive this one. Whoever starts it stops it."""

    def __init__(self, plan: Plan, *, startup_timeout_s: float) -> None:
        # -P: no module in the current directory can stand in the way of the child's imports.
        self._command = [sys.executable, "-P", str(_CHILD), msgspec.json.encode(plan).decode()]
        self._timeout_s = startup_timeout_s
        self._lock = anyio.Lock()
        self._child: _Child | None = None

    async def start(self) -> None:
        """Return when the model answers. Raise ProviderError with llama.cpp's own words."""
        async with self._lock:
            await self._start()

    async def _start(self) -> str:
        child = _Child(self._command)
        try:
            with anyio.fail_after(self._timeout_s):
                await child.wait_until_ready()
        except TimeoutError:
            await child.end(kill=True)
            raise ProviderError(f"no answer after {self._timeout_s:g} s; raise startup_timeout_s") from None
        except BaseException:
            await child.end(kill=True)
            raise
        self._child = child
        return child.address

    async def stop(self) -> None:
        """End the child, and wait until it is gone."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                child, self._child = self._child, None
                if child is not None:
                    await child.end()

    async def address(self) -> str:
        """Where the model answers, as ``http://host:port``. A child that died is started again, once per call.

        Raise ProviderError where it was never started or has been stopped, or when it does not come up again.
        """
        async with self._lock:
            child = self._child
            if child is None:
                raise ProviderError("the model is not running: its provider has not been entered, or has been left")
            if child.is_alive:
                return child.address
            _log.warning("llama.cpp died and is started again; its last words: %s", child.words())
            await child.end()
            return await self._start()

    async def last_words(self) -> str | None:
        """What the child said before it died; None while it lives."""
        child = self._child
        if child is None or not await anyio.to_thread.run_sync(child.is_gone_within, _DEATH_S):
            return None
        return child.words()


class _Child:
    """One run of the child process."""

    def __init__(self, command: list[str]) -> None:
        """Start it, on the loop's own thread.

        Linux ends a child that asked for it when the *thread* that made it ends, and worker threads come and go.
        """
        self.address = ""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._words: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._listen, name="headrace-llamacpp", daemon=True)
        self._listener.start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_gone_within(self, seconds: float) -> bool:
        """Block until it has ended, or so long."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def words(self) -> str:
        """The last lines of its standard error, in one."""
        return "; ".join(list(self._words)[-5:]) or f"none (exit code {self._process.poll()})"

    async def wait_until_ready(self) -> None:
        """Raise ProviderError when the child ends instead."""
        assert self._process.stdout
        line = await anyio.to_thread.run_sync(self._process.stdout.readline, abandon_on_cancel=True)
        if not line:
            await anyio.to_thread.run_sync(self._listener.join)
            raise ProviderError(self._cause())
        self.address = line.decode().strip()

    def _cause(self) -> str:
        """llama.cpp logs errors alone here, and the first causes the others; a traceback says it in its last line."""
        if not self._words:
            return f"it ended without a word (exit code {self._process.poll()})"
        return self._words[-1 if self._words[0].startswith("Traceback") else 0]

    async def end(self, *, kill: bool = False) -> None:
        """Let it go and wait until it has gone, even when cancelled."""
        if kill:
            self._process.kill()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._reap)

    def _reap(self) -> None:
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._listener.join()
        process.stdout.close()
        process.stderr.close()

    def _listen(self) -> None:
        """Keep the pipe from filling up, and remember the end of what is said."""
        assert self._process.stderr
        for line in self._process.stderr:
            self._words.append(line.decode(errors="replace").strip())
