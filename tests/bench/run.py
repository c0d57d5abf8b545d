"""What must stay fast: speed.py over sockets, stores.py with ``--stores``, and here, with ``--quick``, in one process,
as CPU time and as a ratio to a bare baseline of the same run; kept in ``.bench/last.json``.

scripts/bench --quick            measure, show beside the last saved run
scripts/bench --quick --save     ... and keep this run
scripts/bench --quick --check    ... and fail if a ratio is more than 10 % worse than the last saved run
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from headrace import plugins
from headrace.assembly import assemble
from headrace.config import loads
from headrace.gateway import Gateway
from headrace.http.app import create_app
from rich.console import Console
from rich.table import Table
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message

SAVED = Path(__file__).parents[2] / ".bench" / "last.json"
WORDS = 200
ALLOWED = 1.10

CONFIG = """
[gateway.observability]
backend = "memory"
[models.echo]
routing = ["echo"]
[models.echo.providers.echo]
type = "echo"
[functions.say]
type = "chat"
[functions.say.variants.plain]
type = "chat_completion"
model = "echo"
templates.system.path.__tensorzero_remapped_path = "system.minijinja"
templates.system.path.__data = "You are a helpful assistant."
"""


def body(*, stream: bool, text: str) -> bytes:
    """A request to ``/inference``."""
    message = {"role": "user", "content": text}
    return json.dumps({"function_name": "say", "stream": stream, "input": {"messages": [message]}}).encode()


async def call(app: ASGIApp, content: bytes) -> int:
    """One request through an app, without a socket; returns how many body messages came."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/inference",
        "raw_path": b"/inference",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
    }
    parts = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal parts
        parts += message["type"] == "http.response.body"

    await app(scope, receive, send)
    return parts


async def microseconds(work: Callable[[], Awaitable[object]], times: int, rounds: int = 5) -> float:
    """CPU time of one call: the best of several rounds, since a shared machine only ever adds to it."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            await work()
        best = min(best, (time.process_time() - began) / times * 1e6)
    return best


async def bare(request: Request) -> Response:
    """The baseline: what Starlette takes to read a body and answer bytes."""
    return Response(await request.body(), media_type="application/json")


async def in_process(gateway: Gateway) -> dict[str, float]:
    """CPU per request and per streamed chunk, in microseconds."""
    baseline: ASGIApp = Router([Route("/inference", bare, methods=["POST"])])
    short, long = body(stream=False, text="hello"), body(stream=True, text="word " * WORDS)
    async with gateway:
        app = create_app(gateway, owns_gateway=False)
        none = await microseconds(lambda: call(baseline, short), 2000)
        plain = await microseconds(lambda: call(app, short), 1000)
        one = await microseconds(lambda: call(app, body(stream=True, text="word")), 500)
        many = await microseconds(lambda: call(app, long), 20)
    return {"baseline_us": none, "request_us": plain, "chunk_us": (many - one) / (WORDS - 1)}


def help_milliseconds() -> float:
    """CPU of ``headrace --help``, best of five."""
    best = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([Path(sys.executable).with_name("headrace"), "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best * 1000


def main() -> None:
    """Measure, show, and perhaps save or judge."""
    arguments = sys.argv[1:]
    if any(argument.partition("=")[0] == "--stores" for argument in arguments):
        import stores  # it imports this module, and engines that are not always there

        stores.main(arguments)
        return
    if "--quick" not in arguments:
        import speed

        speed.main(arguments)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("quick", "save", "check"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args(arguments)
    figures = asyncio.run(in_process(assemble(loads(CONFIG), plugins.load())))
    figures["help_ms"] = help_milliseconds()
    baseline = figures["baseline_us"]
    ratios = {name: value / baseline for name, value in figures.items() if name.endswith("_us")}
    last: dict[str, float] = json.loads(SAVED.read_text())["ratios"] if SAVED.exists() else {}
    budgets = {"baseline_us": "", "request_us": "100", "chunk_us": "5", "help_ms": "200"}
    table = Table("what", "CPU", "budget", "x baseline", "last saved")
    for name, value in figures.items():
        ratio, before = ratios.get(name), last.get(name)
        shown = [f"{each:.2f}" if each is not None else "" for each in (ratio, before)]
        table.add_row(name, f"{value:.1f}", budgets[name], *shown)
    Console().print(table)
    if options.save:
        SAVED.parent.mkdir(exist_ok=True)
        SAVED.write_text(json.dumps({"figures": figures, "ratios": ratios}, indent=2))
    worse = [name for name, ratio in ratios.items() if name in last and ratio > ALLOWED * last[name]]
    if options.check and worse:
        raise SystemExit(f"more than 10 % slower than the last saved run: {', '.join(worse)}")


if __name__ == "__main__":
    main()
