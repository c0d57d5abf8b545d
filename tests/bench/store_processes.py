"""What a store is measured by from outside: gateways in processes of their own, over real sockets."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import processes
from store_engines import Engine
from store_measures import Say, compared, config
from store_rows import request_body

LOAD = Path(__file__).with_name("load.py")
CONNECTIONS = 32
_DRAINED_WITHIN_S = 60
_SAMPLE_S = 0.25


class Server:
    """``headrace serve`` with a configuration, in a folder of its own; ``request`` is the body that load is made of."""

    def __init__(self, process: subprocess.Popen[str], url: str, request: Path) -> None:
        self.process, self.url, self.request = process, url, request

    def cpu_s(self) -> float:
        """CPU time of all its processes so far, in steps of 10 ms."""
        return processes.cpu_s([self.process.pid])

    def rss_mib(self) -> float:
        """The memory they have now."""
        return processes.rss_mib([self.process.pid])

    def metric(self, name: str) -> float:
        """The value of one of its metrics; 0 where it is not there."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def drain(self) -> None:
        """Return when what it has answered is in the store. Raise RuntimeError if that takes longer than a minute."""
        until = time.monotonic() + _DRAINED_WITHIN_S
        while self.metric("headrace_records_waiting"):
            if time.monotonic() > until:
                raise RuntimeError(f"records still wait after {_DRAINED_WITHIN_S} s")
            time.sleep(0.02)


@contextmanager
def serving(text: str) -> Iterator[Server]:
    """A gateway that listens, until the end of the block; killed then, as nothing of it is needed any more."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        file = Path(folder) / "headrace.toml"
        file.write_text(text)
        request = Path(folder) / "request.json"
        request.write_bytes(request_body())
        command = [str(Path(sys.executable).with_name("headrace")), "serve", "--config", str(file)]
        with (Path(folder) / "log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--bind-address", "127.0.0.1:0"], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "listening on" not in line:
                raise RuntimeError(f"the gateway did not start: {(Path(folder) / 'log').read_text()[-500:]}")
            yield Server(process, line.split()[-1], request)
        finally:
            process.kill()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


def load(server: Server, seconds: float, *, rate: float = 0) -> subprocess.Popen[str]:
    """Requests to ``/inference``, at a rate, or from 32 connections as fast as they are answered."""
    options = ["--connections", str(CONNECTIONS), "--seconds", str(seconds), "--rate", str(rate)]
    command = [sys.executable, str(LOAD), f"{server.url}/inference", str(server.request), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answered(generator: subprocess.Popen[str]) -> dict[str, Any]:
    """What the load generator saw, once it has ended. Raise RuntimeError if a request was refused or broken off."""
    output, _ = generator.communicate(timeout=600)
    if generator.returncode:
        raise RuntimeError(f"the load generator failed with status {generator.returncode}")
    found: dict[str, Any] = json.loads(output)
    found["timed_out"] = found["wrong"].pop("timed out", 0)
    if found["wrong"]:
        raise RuntimeError(f"requests failed: {found['wrong']}")
    return found


def over_sockets(engine: Engine, *, pairs: int, seconds: float, say: Say) -> dict[str, Any]:
    """``/inference`` on the echo over Hypercorn, storing and not, in turns; records drain between the turns."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    with ExitStack() as stack:
        servers = {
            stores: stack.enter_context(serving(config(engine.name, engine.table, enabled=stores, spill="spill")))
            for stores in (True, False)
        }
        for server in servers.values():
            answered(load(server, 1))
            server.drain()
        for pair in range(pairs):
            for stores in (True, False) if pair % 2 else (False, True):
                server = servers[stores]
                before = server.cpu_s()
                seen = answered(load(server, seconds))
                server.drain()
                rates[stores].append(seen["rps"])
                cpu[stores].append((server.cpu_s() - before) / seen["answered"] * 1e6)
    found = compared(rates[True], rates[False])
    found["cpu_us_storing"] = statistics.median(cpu[True])
    found["cpu_us_not_storing"] = statistics.median(cpu[False])
    say(f"over sockets: throughput x {found['ratio']:.2f}")
    return found


def memory(engine: Engine, *, seconds: float, say: Say) -> dict[str, Any]:
    """Memory of two gateways that are flooded while the store is away: one spills, the other lets requests wait."""
    if engine.away is None:
        return {"skipped": "the server is not ours to kill"}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(config(engine.name, engine.table, spill=spill)))
            for name, spill in (("spill", "spill"), ("wait", ""))
        }
        for server in servers.values():
            answered(load(server, 2, rate=100))  # what is imported and cached at the first requests is there by now
            server.drain()
        stack.enter_context(engine.away())
        samples = {name: [server.rss_mib()] for name, server in servers.items()}
        generators = {name: load(server, seconds) for name, server in servers.items()}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(_SAMPLE_S)
            for name, server in servers.items():
                samples[name].append(server.rss_mib())
        seen = {name: answered(generator) for name, generator in generators.items()}
        found = {name: _flatness(samples[name], servers[name], seen[name]) for name in servers}
    for name, each in found.items():
        say(f"memory, {name}: {each['start_mib']:.0f} MiB, then up to {each['max_mib']:.0f}")
    return found


def _flatness(samples: list[float], server: Server, seen: dict[str, Any]) -> dict[str, Any]:
    before = samples[: max(len(samples) * 2 // 3, 1)]
    return {
        "start_mib": samples[0],
        "two_thirds_max_mib": max(before),
        "max_mib": max(samples),
        "end_mib": samples[-1],
        "answered": seen["answered"],
        "timed_out": seen["timed_out"],
        "spilled": server.metric("headrace_records_spilled_total"),
        "waiting": server.metric("headrace_records_waiting"),
        "dropped": server.metric("headrace_records_dropped_total"),
        "each_second_mib": [round(sample, 1) for sample in samples[:: int(1 / _SAMPLE_S)]],
    }
