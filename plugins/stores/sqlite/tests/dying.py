"""A process that kills itself half-way, for test_processes.py: ``python dying.py migrate|restore|backup FILE OTHER N``.

It dies by SIGKILL, like a process that somebody else kills, right before its N-th statement or step on the disk; with
fewer of these it ends as usual.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
from headrace_sqlite import Settings, Sqlite
from headrace_sqlite import schema as schemas

# What changes the disk or is about to.
_STEPS = frozenset({"sqlite3.connect", "os.rename", "os.link", "os.remove", "tempfile.mkstemp"})


def countdown(steps: int) -> Callable[[], None]:
    """Call it at each step; it does not return from the last one."""
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def migrate(path: Path, to: int, step: Callable[[], None]) -> None:
    """To a version, one statement after the other."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.set_trace_callback(lambda _: step())
        schemas.migrate(connection, to)


async def copy(what: str, path: Path, other: Path, step: Callable[[], None]) -> None:
    """Back up or restore."""

    def hook(event: str, _: tuple[Any, ...]) -> None:
        if event in _STEPS:
            step()

    store = Sqlite(Settings(path=path))
    sys.addaudithook(hook)
    await (store.restore(other) if what == "restore" else store.backup(other))


what, path, other, steps = sys.argv[1], Path(sys.argv[2]), sys.argv[3], countdown(int(sys.argv[4]))
if what == "migrate":
    migrate(path, int(other), steps)
else:
    anyio.run(copy, what, path, Path(other), steps)
