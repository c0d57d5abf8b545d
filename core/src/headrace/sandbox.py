"""Templates from requests, rendered in a child process: fuel bounds time, but only a process bounds memory.

The child holds no secrets, cannot open a file or a connection, and keeps nothing from one call to the next; a call
that takes too long or too much ends it, and the next call finds a new one. POSIX only; the bound on memory is the
kernel's (macOS does not enforce it).
"""

from __future__ import annotations

import json
import os
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import IO, Any, Final, Literal

from .errors import TemplateError
from .prompts import MiniJinja, Prompts

TIMEOUT_S: Final = 0.25
MAX_MEMORY_BYTES: Final = 512 * 1024 * 1024
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024

# Starting is not the template's doing, and a busy machine may take long for it.
_START_TIMEOUT_S = 10.0
# A child that lost its parent in the middle of a call is not killed by it, but by the kernel after this much work.
_ORPHAN_CPU_S = 2
_MAX_ERROR_CHARS = 1000
_HEAD = struct.Struct(">I")


class _Ended(Exception):
    """The child gave no answer; the text says why."""


class Sandbox:
    """Owns the child, which starts with the first call. A context manager; leaving it ends the child.

    A call blocks the thread that makes it, and so perhaps the event loop, for at most ``timeout_s``; the first one
    also for the start of the child, some 100 ms.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, max_memory_bytes: int = MAX_MEMORY_BYTES) -> None:
        """``max_memory_bytes`` is all the child may map, the interpreter (some 20 MB) among it."""
        self._timeout_s = timeout_s
        self._max_memory_bytes = max_memory_bytes
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The child's process id, or None before the first call and after the last."""
        return self._child.pid if self._child else None

    def ask(self, what: Literal["compile", "variables", "render"], doing: str, *rest: Any) -> Any:
        """What an engine of the child's answers; ``rest`` is the templates, a name and the context.

        Raise TemplateError: the engine's, or one that starts with ``doing`` and tells the bound that was reached.
        """
        try:
            message = json.dumps([what, *rest], check_circular=False).encode()
            if len(message) > MAX_MESSAGE_BYTES:
                raise _Ended(f"templates and variables of {len(message)} bytes; at most {MAX_MESSAGE_BYTES} are taken")
            with self._lock:
                answer = json.loads(self._exchange(message))
        except _Ended as error:
            raise TemplateError(f"{doing}: {error}") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise TemplateError(f"{doing}: the variables have no JSON form: {error}") from None
        if "bound" in answer:
            raise TemplateError(f"{doing}: {answer['bound']}")
        if "error" in answer:
            raise TemplateError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """End the child. Any later call raises TemplateError."""
        with self._lock:
            self._is_closed = True
            self._end()

    def __enter__(self) -> Sandbox:
        """Nothing is started yet."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End the child."""
        self.close()

    def _exchange(self, message: bytes) -> bytes:
        if self._is_closed:
            raise _Ended("the sandbox is closed")
        child = self._started()
        try:
            deadline = time.monotonic() + self._timeout_s
            assert child.stdin and child.stdout
            _send(child.stdin, _HEAD.pack(len(message)) + message, deadline)
            return _receive(child.stdout, deadline)
        except TimeoutError:
            self._renew()
            raise _Ended(f"stopped after {self._timeout_s:g} s") from None
        except OSError:
            self._renew()
            raise _Ended(
                f"the process that renders ended; it may use {self._max_memory_bytes // 2**20} MiB of memory"
            ) from None

    def _started(self) -> subprocess.Popen[bytes]:
        child = self._child or self._start()
        if not self._is_ready:
            assert child.stdout
            try:
                _receive(child.stdout, time.monotonic() + _START_TIMEOUT_S)
            except OSError:  # TimeoutError is one
                self._end()
                raise _Ended(f"`{sys.executable} -I -m headrace.sandbox` does not start") from None
            self._is_ready = True
        return child

    def _start(self) -> subprocess.Popen[bytes]:
        # No variable of ours is for the child, but where the interpreter finds its own libraries.
        environment = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "headrace.sandbox", str(self._max_memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env=environment,
        )
        assert child.stdin and child.stdout
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
        self._child, self._is_ready = child, False
        return child

    def _renew(self) -> None:
        """End the child and start another, which gets ready while nobody waits for it."""
        self._end()
        with suppress(OSError):  # it is tried again, and told, by the next call
            self._start()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            assert child.stdin and child.stdout
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


class SandboxedPrompts(Prompts):
    """The templates of one request, in the sandbox: ``Prompts`` in all but where it renders. Cheap to make."""

    def __init__(self, sandbox: Sandbox, includes: Mapping[str, str] = {}) -> None:
        """The sandbox stays the caller's to close."""
        super().__init__(includes, engine=_Remote(sandbox))


class _Remote:
    """An engine whose work is done in the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._templates: dict[str, str] = {}

    def compile(self, templates: Mapping[str, str]) -> None:
        both = {**self._templates, **templates}
        self._sandbox.ask("compile", f"Error compiling template {', '.join(templates)}", both)
        self._templates = both

    def variables(self, name: str) -> set[str]:
        return set(self._sandbox.ask("variables", f"Error reading template {name}", self._templates, name))

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        doing = f"Error rendering template {name}: Could not render template"
        text: str = self._sandbox.ask("render", doing, self._templates, name, context)
        return text


# -- both ends of the pipe --------------------------------------------------------------------------------


def _send(pipe: IO[bytes], message: bytes, deadline: float) -> None:
    rest = memoryview(message)
    while rest:
        _wait(pipe, select.POLLOUT, deadline)
        with suppress(BlockingIOError):
            rest = rest[os.write(pipe.fileno(), rest) :]


def _receive(pipe: IO[bytes], deadline: float) -> bytes:
    """One message. Raise TimeoutError; EOFError as OSError where the other end is gone or talks nonsense."""
    (length,) = _HEAD.unpack(_exactly(pipe, _HEAD.size, deadline))
    if length > MAX_MESSAGE_BYTES:
        raise OSError(f"a message of {length} bytes")
    return _exactly(pipe, length, deadline)


def _exactly(pipe: IO[bytes], length: int, deadline: float) -> bytes:
    parts, missing = [], length
    while missing:
        _wait(pipe, select.POLLIN, deadline)
        part = os.read(pipe.fileno(), min(missing, 2**20))
        if not part:
            raise OSError("the other end is gone")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _wait(pipe: IO[bytes], what: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, what)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


# -- the child --------------------------------------------------------------------------------------------


def _answer(message: bytes) -> dict[str, Any]:
    what, templates, *rest = json.loads(message)
    engine = MiniJinja()
    try:
        engine.compile(templates)
        if what == "compile":
            return {"value": None}
        return {"value": engine.render(*rest) if what == "render" else sorted(engine.variables(*rest))}
    except TemplateError as error:
        return {"error": str(error)[:_MAX_ERROR_CHARS]}


def _reply(message: bytes) -> bytes:
    try:
        reply = json.dumps(_answer(message), ensure_ascii=False).encode("utf-8", "surrogatepass")
        told = f"more than {MAX_MESSAGE_BYTES} bytes came out"
    except MemoryError:
        reply, told = b"", "it needs too much memory"
    return reply if 0 < len(reply) <= MAX_MESSAGE_BYTES else json.dumps({"bound": told}).encode()


def _give_up_rights(max_memory_bytes: int) -> None:
    """Once all is imported: no more files or sockets than the two pipes, and only so much memory."""
    for what, most in (
        (resource.RLIMIT_AS, max_memory_bytes),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # a limit that this kernel does not have
            resource.setrlimit(what, (most, most))


def _serve(max_memory_bytes: int) -> None:
    """Answer until the other end is closed, which it is when the parent has ended."""
    _reply(
        json.dumps(["render", {"x": "{{ [1]|tojson(indent=1) }}"}, "x", {}]).encode()
    )  # imports what is imported late
    _give_up_rights(max_memory_bytes)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    reply = b"{}"
    while True:
        stdout.write(_HEAD.pack(len(reply)) + reply)
        stdout.flush()
        if not (head := stdin.read(_HEAD.size)):
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + _ORPHAN_CPU_S, resource.RLIM_INFINITY))
        reply = _reply(stdin.read(*_HEAD.unpack(head)))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
