"""A gateway under mixed load for long: are memory, files and tasks flat? Kept in ``.bench/soak.json``.

scripts/soak                    a million requests (ten to twenty minutes, about 4 GB of disk)
scripts/soak --requests 50000   a short one
scripts/soak --server hypercorn another server than uvicorn
scripts/soak --write            ... and write docs/explanation/soak.md with its chart
scripts/soak --saved --write    do not run, write from what is kept

Ends with status 1 if something is not flat, or was answered wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gateways
import processes
import uvloop
from load import Ask, Load, post
from rich.console import Console
from soak_page import draw, page, table
from soak_rule import last_half
from store_engines import engine

ROOT = Path(__file__).parents[2]
SAVED = ROOT / ".bench" / "soak.json"
PAGE = ROOT / "docs" / "explanation" / "soak.md"
CONNECTIONS = 32
CURVES = ("rss_mib", "files", "tasks")
_SETTLES_S = 3.0  # all workers have begun by then, and the probe in them
_REST_S = 10.0
_console = Console(width=None if sys.stdout.isatty() else 140)
Found = dict[str, Any]

_TOML = """
[gateway.observability]
backend = "sqlite"
[gateway.auth]
enabled = true
{table}
{function}
[functions.slow]
type = "chat"
variants.only = {{ type = "chat_completion", model = "slow" }}
[functions.broken]
type = "chat"
variants.only = {{ type = "chat_completion", model = "broken" }}
[functions.cut]
type = "chat"
variants.only = {{ type = "chat_completion", model = "cut" }}
"""
_MODEL = """
[models.{name}]
routing = ["mock"]
[models.{name}.providers.mock]
type = "openai"
model_name = "mock"
api_base = "{upstream}/{manner}/v1/"
api_key_location = "none"
"""


def main() -> None:
    """Run, keep, show, judge and write, as asked."""
    parser = argparse.ArgumentParser(
        "scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", default=1_000_000, type=int)
    parser.add_argument("--server", default="uvicorn", choices=gateways.SERVERS)
    parser.add_argument("--every", default=1.0, type=float, metavar="S", help="seconds between samples")
    parser.add_argument("--saved", action="store_true", help="do not run")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    if options.saved:
        found = json.loads(SAVED.read_text())
    else:
        os.sched_setaffinity(0, gateways.OTHERS)
        found = uvloop.run(_run(options))
        SAVED.parent.mkdir(exist_ok=True)
        SAVED.write_text(json.dumps(found, indent=1))
    _console.print(table(found))
    if options.write:
        picture = PAGE.with_suffix(".svg")
        PAGE.write_text(page(found, picture.name), encoding="utf-8")
        draw(found, picture)
        _console.print(f"written: {PAGE.relative_to(ROOT)}")
    if problems := found["problems"]:
        raise SystemExit("\n".join(problems))


async def _run(options: argparse.Namespace) -> Found:
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="headrace-soak-") as name:
        folder = Path(name)
        upstream, _ = stack.enter_context(gateways.upstream(folder))
        made = stack.enter_context(engine("sqlite"))
        function = gateways.FUNCTION.format(upstream=f"{upstream}/v1")
        function += "".join(
            _MODEL.format(name=model, upstream=upstream, manner=manner)
            for model, manner in (("slow", "d50"), ("broken", "e500"), ("cut", "cut"))
        )
        toml = gateways.write_function(folder, _TOML.format(table=made.table, function=function))
        key = gateways.key(toml)
        probe = str(Path(__file__).with_name("probe"))
        command = [*gateways.serve_command(toml), "--server", options.server]
        env = {"PYTHONPATH": probe, "HEADRACE_SOAK_PROBE": name}
        started = stack.enter_context(gateways.process(command, folder, "headrace", is_read=True, env=env))
        url = gateways.line_with(started, "listening on ")
        return await _Soak(started.pid, url, key, folder, options).run()


class _Soak:
    """One gateway, its load, and the samples of it."""

    def __init__(self, pid: int, url: str, key: str, folder: Path, options: argparse.Namespace) -> None:
        self._pid, self._url, self._key, self._folder, self._options = pid, url, key, folder, options
        where = urlsplit(url)
        kinds = mixture(url, key)
        self._dice = random.Random(5)
        names, weights = list(kinds), [weight for weight, _ in kinds.values()]
        self.asked = dict.fromkeys(names, 0)

        def next_ask() -> Ask:
            (name,) = self._dice.choices(names, weights)
            self.asked[name] += 1
            return kinds[name][1]

        self._load = Load((where.hostname or "", where.port or 80), next_ask, timeout_s=60)

    async def run(self) -> Found:
        """All of it; what was found."""
        began, machine, samples = time.monotonic(), processes.machine(), []
        await asyncio.sleep(_SETTLES_S)
        at_first = await self._sample(began)
        load = asyncio.create_task(self._load.at_once(CONNECTIONS, self._is_more))
        told = 0.0
        while not load.done():
            await asyncio.wait([load], timeout=self._options.every)
            samples.append(await self._sample(began))
            # What was answered rightly and in what time does not matter here, and would be a million numbers.
            for times in (self._load.seen.latency_us, self._load.seen.first_us, self._load.seen.late_us):
                times.clear()
            if samples[-1]["at_s"] > told + 30:
                told = samples[-1]["at_s"]
                _console.print({name: round(value, 1) for name, value in samples[-1].items()})
        seen = await load
        took_s = time.monotonic() - began - at_first["at_s"]
        await asyncio.sleep(_REST_S)
        at_last = await self._sample(began)
        found: Found = {
            "machine": machine,
            "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            "server": self._options.server,
            "requests": self._load.asked,
            "took_s": took_s,
            "asked": self.asked,
            "answered": seen.answered,
            "left": seen.left,
            "wrong": dict(seen.wrong.most_common(10)),
            "before": at_first,
            "after": at_last,
            "samples": samples[:-1],
        }
        return found | judged(found)

    def _is_more(self) -> bool:
        asked: int = self._options.requests
        return self._load.asked < asked

    async def _sample(self, began: float) -> Found:
        def read() -> Found:
            tasks = [int(path.read_text()) for path in self._folder.glob("tasks-*[0-9]")]
            return {
                "at_s": time.monotonic() - began,
                "requests": self._load.asked,
                "rss_mib": processes.rss_mib([self._pid]),
                "files": processes.files([self._pid]),
                "tasks": max(tasks, default=0),  # the process that holds the port has next to none
                "records_waiting": self._waiting(),
            }

        return await asyncio.to_thread(read)

    def _waiting(self) -> float:
        request = urllib.request.Request(f"{self._url}/metrics", headers={"authorization": f"Bearer {self._key}"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("headrace_records_waiting "))


def mixture(url: str, key: str) -> dict[str, tuple[float, Ask]]:
    """The kinds of requests: how often, and what is right."""
    right, wrong = ({"authorization": f"Bearer {each}"} for each in (key, key[:-1] + ("a" if key[-1] != "a" else "b")))
    endpoint, hello = f"{url}/openai/v1/chat/completions", "Write a line."

    def ask(case: str, function: str, expect: bytes, status: int = 200, leaves_s: float | None = None) -> Ask:
        content = gateways.body(case, model=f"tensorzero::function_name::{function}", content=hello)
        return Ask(post(endpoint, content, right), expect, status, leaves_s)

    plain, stream = (post(endpoint, gateways.function_body(case), right) for case in gateways.CASES)
    no_topic = gateways.function_body("chat").replace(b'"topic"', b'"tropic"')
    return {
        "plain": (58, Ask(plain, b'"choices"')),
        "streamed": (15, Ask(stream, b"[DONE]")),
        "slow upstream": (4, ask("chat", "slow", b'"choices"')),
        "slow upstream, streamed": (2, ask("stream", "slow", b"[DONE]")),
        "upstream fails": (4, ask("chat", "broken", b"error", 502)),
        "upstream breaks off a stream": (3, ask("stream", "cut", b"error")),
        "client leaves while it waits": (3, ask("chat", "slow", b"", leaves_s=0.02)),
        "client leaves a stream": (3, ask("stream", "slow", b"", leaves_s=0.055)),
        "not JSON": (2, Ask(post(endpoint, b"{", right), b"error", 400)),
        "against the schema": (2, Ask(post(endpoint, no_topic, right), b"error", 400)),
        "unknown function": (2, ask("chat", "none", b"error", 404)),
        "wrong key": (2, Ask(post(endpoint, gateways.function_body("chat"), wrong), b"error", 401)),
    }


def judged(found: Found) -> Found:
    """The curves' slopes, and what is not as it should be."""
    problems = [f"{number} times: {what}" for what, number in found["wrong"].items()]
    requests, slopes = [each["requests"] for each in found["samples"]], {}
    for name in CURVES:
        try:
            slope = last_half(requests, [each[name] for each in found["samples"]])
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        slopes[name] = slope.told()
        if not slope.is_flat:
            problems.append(f"{name} is not flat: {slope.growth:+.1f} ({slope.low:+.1f} to {slope.high:+.1f})")
    return {"slopes": slopes, "problems": problems}


if __name__ == "__main__":
    main()
