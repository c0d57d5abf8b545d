"""Another process at the same database: ``python child_postgres.py URL FIRST BATCHES``."""

from __future__ import annotations

import sys

import anyio
from headrace.conformance.rows import inference, model_inference, uid
from headrace.records import Record
from headrace_postgres import Postgres, Settings


def batch(n: int) -> list[Record]:
    return [inference(n, tags={"n": str(n)}), model_inference(n, uid(n), raw_request="x" * 2000)]


async def main(url: str, first: int, batches: int) -> None:
    """Say each number once ``write`` has returned, which is when it must be durable."""
    async with Postgres(Settings(url=url)) as store:
        for n in range(first, first + batches):
            await store.write(batch(n))
            print(n, flush=True)  # noqa: T201


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
