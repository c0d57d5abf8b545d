"""What processes use, read from /proc: CPU time, memory, files. And where they run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)


def families(roots: Iterable[int]) -> set[int]:
    """These processes and all below them that live."""
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        with suppress(*_GONE):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, children.read_text().split())
            found.add(pid)
    return found


def naming(folder: Path) -> set[int]:
    """The processes whose command line names a folder: the server of a database there."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(*_GONE):
            if os.fsencode(folder) in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def cpu_s(roots: Iterable[int]) -> float:
    """CPU time so far, with that of children that have ended.

    The scheduler counts nanoseconds, but forgets threads that have ended; the other count does not, in steps of 10 ms.
    """
    total = 0.0
    for pid in families(roots):
        with suppress(*_GONE):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            own, ended = (sum(map(int, fields[place : place + 2])) / _TICKS_PER_S for place in (11, 13))
            tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
            total += max(own, sum(int(each.read_text().split()[0]) for each in tasks) / 1e9) + ended
    return total


def rss_mib(roots: Iterable[int]) -> float:
    """The memory they hold now; what several share counts for each."""
    total = 0
    for pid in families(roots):
        with suppress(*_GONE):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return total * _PAGE / 2**20


def files(roots: Iterable[int]) -> int:
    """How many file descriptors they have open."""
    total = 0
    for pid in families(roots):
        with suppress(*_GONE):
            total += len(os.listdir(f"/proc/{pid}/fd"))
    return total


def cores() -> tuple[set[int], set[int]]:
    """The core of the gateway under test, and those of all else; the same where there is but one."""
    every = sorted(os.sched_getaffinity(0))
    return set(every[:1]), set(every[1:] or every)


def machine() -> dict[str, Any]:
    """What figures depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * _PAGE / 2**30),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_1min": os.getloadavg()[0],
    }
