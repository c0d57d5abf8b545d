"""What a store is measured by from inside one process: filling, ingest, lists, and what storing costs a gateway."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
from headrace import plugins
from headrace.assembly import assemble
from headrace.config import loads
from headrace.contracts import Store
from headrace.gateway import Gateway
from headrace.http.app import create_app
from headrace.recorder import Recorder
from run import call
from starlette.types import ASGIApp
from store_rows import PAGE, Rows, queries, request_body

Say = Callable[[str], None]

BATCH = 5000
LANES = 2  # as two gateways would: while one batch is made, the other is with the database
TIMES = 30
WORKERS = 16

_CONFIG = """
[gateway.observability]
enabled = {enabled}
backend = "{backend}"
[headrace.records]
spill_path = "{spill}"
[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"
[metrics.solved]
type = "boolean"
optimize = "max"
level = "inference"
[models.echo]
routing = ["echo"]
providers.echo = {{ type = "echo" }}
{functions}
"""
_FUNCTION = """
[functions.f{n}]
type = "chat"
variants.plain = {{ type = "chat_completion", model = "echo" }}
"""


def config(name: str, table: str, *, enabled: bool = True, spill: str = "") -> str:
    """The TOML of a gateway that stores here, or of the same one that stores nothing."""
    functions = "".join(_FUNCTION.format(n=n) for n in range(10))
    text = _CONFIG.format(enabled=str(enabled).lower(), backend=name, spill=spill, functions=functions)
    return text + (table if enabled else "")


def gateway_of(text: str) -> Gateway:
    """A gateway in this process, not yet open."""
    return assemble(loads(text), plugins.load())


# -- rows ---------------------------------------------------------------------------------------------------


async def fill(store: Store, rows: Rows, say: Say) -> dict[str, Any]:
    """Write the inferences and their verdicts, in large batches; how fast that was."""
    starts = iter(range(0, rows.count, BATCH))
    began, cpu, told, written = time.monotonic(), time.process_time(), time.monotonic(), 0

    async def lane() -> None:
        nonlocal told, written
        for start in starts:
            some = range(start, min(start + BATCH, rows.count))
            await store.write([rows.inference(n) for n in some])
            await store.write([rows.verdict(n) for n in some])
            written += len(some)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                say(f"{written:,} of {rows.count:,} inferences with feedback, {written / (told - began):,.0f}/s")

    async with anyio.create_task_group() as tasks:
        for _ in range(LANES):
            tasks.start_soon(lane)
    return _rate(2 * rows.count, began, cpu)


async def ingest(store: Store, rows: Rows, count: int) -> dict[str, Any]:
    """Model inferences through a recorder, one ``put`` each as a gateway does it, until the last one is stored."""
    made = [rows.model_inference(n) for n in range(count)]
    async with anyio.create_task_group() as tasks:
        recorder = Recorder(store)
        await recorder.start(tasks)
        began, cpu = time.monotonic(), time.process_time()
        for start in range(0, count, 100):
            for record in made[start : start + 100]:
                await recorder.put([record])
            await anyio.lowlevel.checkpoint()
        await recorder.flush()
        found = _rate(count, began, cpu)
        await recorder.stop()
    return found


def _rate(count: int, began: float, cpu: float) -> dict[str, Any]:
    seconds = time.monotonic() - began
    return {
        "rows": count,
        "seconds": seconds,
        "rows_per_s": count / seconds,
        "cpu_us_per_row": (time.process_time() - cpu) / count * 1e6,
    }


# -- lists --------------------------------------------------------------------------------------------------


async def lists(gateway: Gateway, rows: Rows, say: Say) -> dict[str, Any]:
    """The lists, asked of the store itself and over the API of a gateway."""
    assert gateway.store is not None
    store, found = gateway.store, {}
    app = create_app(gateway, owns_gateway=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench", timeout=300) as http:
        for name, asked, expected in queries(rows.count):

            async def direct(turn: int, asked: list[Any] = asked) -> int:
                return len(await store.inferences(asked[turn % len(asked)]))

            async def over_http(turn: int, asked: list[Any] = asked) -> int:
                query = asked[turn % len(asked)]
                said = {
                    "type": "boolean_metric",
                    "metric_name": query.filters.metric_name,
                    "value": query.filters.value,
                }
                body = {"filters": said, "function_name": query.function_name, "limit": PAGE}
                reply = await http.post("/v1/inferences/list_inferences", json=body)
                return len(reply.raise_for_status().json()["inferences"])

            found[name] = await _timed(direct, expected)
            found[f"{name}, over HTTP"] = await _timed(over_http, expected)
            say(f"list: {name}: {found[name]['median_ms']:.1f} ms, over HTTP too")
    return found


async def _timed(ask: Callable[[int], Awaitable[int]], expected: int) -> dict[str, Any]:
    """Milliseconds of 30 turns, after one that does not count; fewer where they take more than 10 s together."""
    rows = [await ask(0)]
    took: list[float] = []
    until = time.monotonic() + 10
    while len(took) < TIMES and (not took or time.monotonic() < until):
        began = time.perf_counter()
        rows.append(await ask(len(took)))
        took.append((time.perf_counter() - began) * 1000)
    return {
        "n": len(took),
        "rows": rows[-1],
        "expected_at_least": expected,
        "is_right": min(rows) >= expected,
        "median_ms": statistics.median(took),
        "p95_ms": sorted(took)[math.ceil(0.95 * len(took)) - 1],
    }


# -- what storing costs -------------------------------------------------------------------------------------


async def in_process(storing: Gateway, other: Gateway, *, pairs: int, seconds: float, say: Say) -> dict[str, Any]:
    """``/inference`` on the echo, storing and not, in turns. A turn ends when its last record is in the store."""
    apps = [create_app(gateway, owns_gateway=False) for gateway in (storing, other)]
    content = request_body()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(apps[0]), base_url="http://bench") as http:
        (await http.post("/inference", content=content)).raise_for_status()
    await _turn(apps[1], None, content, 500)
    began = time.monotonic()
    await _turn(apps[1], None, content, 1000)
    requests = max(500, int(1000 / (time.monotonic() - began) * seconds))
    await _turn(apps[0], storing._recorder, content, requests // 2)
    kinds = ((apps[0], storing._recorder), (apps[1], None))
    turns: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):  # whoever comes second is not always the same
            turns[which].append(await _turn(*kinds[which], content, requests))
    stored, plain = turns[0], turns[1]
    found = compared([requests / wall for wall, _ in stored], [requests / wall for wall, _ in plain])
    found["requests_per_turn"] = requests
    found["cpu_us_storing"] = statistics.median(cpu / requests * 1e6 for _, cpu in stored)
    found["cpu_us_not_storing"] = statistics.median(cpu / requests * 1e6 for _, cpu in plain)
    say(f"in process: throughput x {found['ratio']:.2f}")
    return found


async def _turn(app: ASGIApp, recorder: Recorder | None, content: bytes, requests: int) -> tuple[float, float]:
    """So many requests, 16 at a time; wall time and CPU time of this process, in seconds."""
    left = requests

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call(app, content)
            await asyncio.sleep(0)  # a request from outside comes by way of the loop, and the store's tasks run then

    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    if recorder is not None:
        await recorder.flush()
    return time.monotonic() - began, time.process_time() - cpu


def compared(storing: list[float], other: list[float]) -> dict[str, Any]:
    """Two throughputs that were measured in turns: the median ratio of the pairs, and its interval."""
    ratios = sorted(a / b for a, b in zip(storing, other, strict=True))
    low, high = _median_interval(ratios)
    return {
        "storing_per_s": statistics.median(storing),
        "not_storing_per_s": statistics.median(other),
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "n": len(ratios),
    }


def _median_interval(values: list[float]) -> tuple[float, float]:
    """A 95 % interval of the median, from the order of the values alone; below 6 values it is all of them."""
    n, rank, tail = len(values), 0, 0.0
    while rank < n // 2 and (tail := tail + math.comb(n, rank) / 2**n) <= 0.025:
        rank += 1
    return values[max(rank - 1, 0)], values[-max(rank, 1)]
