"""Another process at the same file, for test_processes.py: ``python child.py write|fill FILE FIRST BATCHES``."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import anyio
from headrace.conformance.rows import inference, model_inference, uid
from headrace.errors import StoreError
from headrace.records import Record
from headrace_sqlite import Settings, Sqlite


def batch(n: int) -> list[Record]:
    return [inference(n), model_inference(n, uid(n), raw_request="x" * 2000)]


async def write(store: Sqlite, first: int, batches: int) -> None:
    """Say each number once ``write`` has returned, which is when it must be durable."""
    for n in range(first, first + batches):
        await store.write(batch(n))
        print(n, flush=True)  # noqa: T201


async def fill(store: Sqlite, first: int, batches: int) -> None:
    """Write until the files may not grow any more; then give them room, and write the batch that was refused."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, most))
    try:
        await write(store, first, batches)
    except StoreError as error:
        print(error, file=sys.stderr)  # noqa: T201
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    await write(store, first + batches, 1)


async def main(what: str, path: str, first: int, batches: int) -> None:
    async with Sqlite(Settings(path=Path(path))) as store:
        await {"write": write, "fill": fill}[what](store, first, batches)


anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
