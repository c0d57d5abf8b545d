"""A writer in a process of its own, for test_clickhouse_faults.py: ``python ch_child.py URL FIRST BATCHES``."""

from __future__ import annotations

import sys

import anyio
from headrace.conformance.rows import inference, model_inference, uid
from headrace.errors import StoreError
from headrace_clickhouse import ClickHouse, Settings

BATCH = 20


async def main(url: str, first: int, batches: int) -> None:
    """Say each number once ``write`` has returned, which is when it must be durable; end when the server is gone."""
    async with ClickHouse(Settings(url=url)) as store:
        for n in range(first, first + batches * BATCH, BATCH):
            numbers = range(n, n + BATCH)
            try:
                await store.write([*map(inference, numbers), *(model_inference(each, uid(each)) for each in numbers)])
            except StoreError as error:
                print(error, file=sys.stderr)  # noqa: T201
                return
            print(n, flush=True)  # noqa: T201


anyio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
