"""Drills: a real gateway under load on a real store, a fault, and a count of what was acknowledged and what is stored.

``Drill`` is one of them; the tests in test_faults_<store>.py are drills. Each ends in a ``Finding``.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from faults_table import Finding, told
from headrace.conformance.rows_every import EVERY
from headrace.queries import InferenceQuery

HEADRACE = str(Path(sys.executable).with_name("headrace"))
_CONFIG = """
[gateway.observability]
backend = "{backend}"
async_writes = {async_writes}

[{backend}]
{settings}

[headrace.records]
spill_path = "{spill}"
spill_after_s = {spill_after_s}

[models.echo]
routing = ["echo"]
providers.echo = {{ type = "echo" }}

[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"
"""

# What no drill may bring about.
_NEVER = re.compile(r"records are lost|refused a record|cannot be read|were dropped|Traceback|never retrieved")


class Engine(Protocol):
    """A store's database, as somebody sees it who knows nothing of headrace."""

    backend: str

    def settings(self) -> str:
        """The keys of the store's table of the configuration."""

    def ids(self, table: str, column: str) -> list[UUID]:
        """What a query sees in this column, row by row."""


@dataclass
class Answered:
    """Ids that a gateway has acknowledged, and what it answered instead of one."""

    inferences: list[UUID] = field(default_factory=list)
    feedback: list[UUID] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class Drill:
    """One fault. ``served`` and ``url`` are the gateway of the moment."""

    def __init__(self, engine: Engine, serve: Callable[..., Any], folder: Path, *, is_async: bool = False) -> None:
        self.engine = engine
        self.spill = folder / "spill"
        self.spill_after_s = 0.5
        self.is_async = is_async
        self.answered = Answered()
        self.gone = threading.Event()  # the gateway is to end, so that a request may end without an answer
        self._serve = serve
        self._logs: list[Path] = []

    def toml(self) -> str:
        """The configuration of the gateway."""
        return _CONFIG.format(
            backend=self.engine.backend,
            settings=self.engine.settings(),
            async_writes=str(self.is_async).lower(),
            spill=self.spill,
            spill_after_s=self.spill_after_s,
        )

    @contextmanager
    def gateway(self) -> Iterator[Any]:
        """A process of its own; another one in the same block is another instance beside it."""
        with self._serve(self.toml(), name=f"gateway-{len(self._logs)}") as served:
            self.gone.clear()
            self._logs.append(served.log)
            yield served

    @contextmanager
    def load(self, served: Any, *, threads: int = 4, words: int = 1) -> Iterator[None]:
        """Inferences from several threads and feedback from one, one request after the other in each."""
        stopping = threading.Event()

        def keep(asking: Callable[[], None], pause_s: float) -> None:
            while not stopping.is_set():
                try:
                    asking()
                except (OSError, ValueError, http.client.HTTPException) as error:
                    if not self.gone.is_set():
                        self.answered.refusals.append(f"no answer: {error!r}")
                    return
                stopping.wait(pause_s)

        infer = partial(self._infer, served.url, words)
        workers = [threading.Thread(target=keep, args=(infer, 0)) for _ in range(threads)]
        workers.append(threading.Thread(target=keep, args=(partial(self._judge, served.url), 0.02)))
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            stopping.set()
            for worker in workers:
                worker.join(90)
            assert not any(worker.is_alive() for worker in workers), "a request hangs"

    def kill9(self, served: Any) -> None:
        """End the gateway as the kernel does to a process that took too much memory."""
        self.gone.set()
        served.stop(signal.SIGKILL)

    def stop(self, served: Any) -> None:
        """End it as a deployment does, and see that it takes this well."""
        self.gone.set()
        code = served.stop()
        assert code == 0, f"it ended with {code}: {served.log.read_text()[-2000:]}"

    def grows(self, by: int, within_s: float = 60) -> None:
        """Wait for so many more answers."""
        goal = len(self.answered.inferences) + by
        reached = eventually(lambda: len(self.answered.inferences) >= goal, within_s)
        assert reached, f"{goal - len(self.answered.inferences)} of {by} answers did not come: {self.answered.refusals}"

    def troubled(self, served: Any, *, store: str | None = None, within_s: float = 60) -> None:
        """Wait until ``/health`` says that records wait on the disk, and of the store what is expected."""
        wanted = {"records": "error"} | ({"store": store} if store else {})
        self._wait_for(served, wanted, {"error": 503, "ok": 200}.get(store or ""), within_s)

    def well(self, served: Any, within_s: float = 60) -> None:
        """Wait until ``/health`` says that all is well."""
        self._wait_for(served, {"records": "ok", "store": "ok"}, 200, within_s)

    def ends_well(self, served: Any) -> None:
        """Without load: wait until all is stored, and stop the gateway as a deployment does."""
        self.well(served)
        none_waits = eventually(lambda: not metric(served.url, "headrace_records_waiting"))
        assert none_waits, f"records wait still: {metric(served.url, 'headrace_records_waiting')}"
        assert metric(served.url, "headrace_records_dropped_total") == 0
        self.stop(served)

    def spills(self, served: Any, records: int) -> None:
        """Wait until so many have gone to the disk."""
        assert eventually(lambda: metric(served.url, "headrace_records_spilled_total") >= records)

    def logged(self, served: Any, words: str, within_s: float = 60) -> None:
        """Wait until the log says this."""
        assert eventually(lambda: words in served.log.read_text(), within_s), f"not in the log: {words}"

    def found(self) -> int:
        """How many of what was acknowledged are stored, an inference only with the call of its provider."""
        inferences = {*self.engine.ids("inference", "id")} & {*self.engine.ids("model_inference", "inference_id")}
        feedback = {*self.engine.ids("boolean_metric_feedback", "id")}
        return len(inferences.intersection(self.answered.inferences)) + len(
            feedback.intersection(self.answered.feedback)
        )

    def ends(self, what: str, before: int | None, *, may_lose: bool = False) -> Finding:
        """Count, tell, and see that nothing is lost or doubled, that nothing is left over, and what the logs say."""
        answered = self.answered
        tables = [("inference", "id"), ("model_inference", "inference_id"), ("boolean_metric_feedback", "id")]
        rows = [self.engine.ids(*each) for each in tables]
        log = "".join(path.read_text() for path in self._logs)
        finding = Finding(
            self.engine.backend,
            self.is_async,
            what,
            len(answered.inferences),
            len(answered.feedback),
            before,
            self.found(),
            sum(len(ids) - len(set(ids)) for ids in rows),
            told(log),
        )
        finding.tell()
        assert finding.inferences and finding.doubled == 0
        assert may_lose or finding.lost == 0, f"{finding.lost} records are lost: {finding.line()}"
        assert not (bad := _NEVER.search(log)), log[max(0, bad.start() - 1000) : bad.end() + 3000]
        assert not self.spilled(), self.spilled()
        # Feedback has to see its target, so it may be told to come again; an inference is always answered.
        wrong = [each for each in answered.refusals if not each.startswith("feedback: 503")]
        assert not wrong, wrong
        return finding

    def spilled(self) -> list[Path]:
        """Files that hold records, waiting or refused."""
        return list(self.spill.rglob("*.jsonl"))

    def _wait_for(self, served: Any, wanted: dict[str, str], status: int | None, within_s: float) -> None:
        said: list[tuple[int, dict[str, str]]] = []

        def is_so() -> bool:
            said.append(health(served.url))
            return wanted.items() <= said[-1][1].items() and status in (None, said[-1][0])

        assert eventually(is_so, within_s), f"/health never said {wanted}: {said[-1]}; {told(served.log.read_text())}"

    def _infer(self, url: str, words: int) -> None:
        message = {"role": "user", "content": "hello " * words}
        said = self._post(url, "inference", model_name="echo", input={"messages": [message]})
        if said:
            self.answered.inferences.append(UUID(said["inference_id"]))

    def _judge(self, url: str) -> None:
        # The first one is stored; the last one may still be on its way, which a gateway waits for.
        if targets := self.answered.inferences:
            target = targets[0 if len(self.answered.feedback) % 2 else -1]
            said = self._post(url, "feedback", metric_name="liked", inference_id=str(target), value=True)
            if said:
                self.answered.feedback.append(UUID(said["feedback_id"]))

    def _post(self, url: str, route: str, **body: Any) -> dict[str, str] | None:
        request = urllib.request.Request(f"{url}/{route}", json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                said: dict[str, str] = json.load(reply)
                return said
        except urllib.error.HTTPError as error:
            self.answered.refusals.append(f"{route}: {error.code} {error.read().decode()}")
            return None


def eventually(condition: Callable[[], bool], within_s: float = 60) -> bool:
    """Whether this becomes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def health(url: str) -> tuple[int, dict[str, str]]:
    """What ``GET /health`` says, and with which status."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=30) as reply:
            return int(reply.status), json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def metric(url: str, name: str) -> float:
    """The value of a metric, 0 if it has none."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


# -- drills that all stores have in common ----------------------------------------------------------------------


def kill_the_gateway(drill: Drill) -> Finding:
    """Twice, while it writes; then start it once more."""
    for _ in range(2):
        with drill.gateway() as served, drill.load(served):
            drill.grows(30)
            drill.kill9(served)
    before = drill.found()
    with drill.gateway() as served:
        drill.ends_well(served)
    return drill.ends("`kill -9` of the gateway, twice", before, may_lose=drill.is_async)


def pass_an_outage(
    drill: Drill, what: str, away: Callable[[], None], back: Callable[[], None], *, store: str = "error", words: int = 1
) -> Finding:
    """The store goes away and comes back while requests go on. ``store`` is what ``/health`` says of it meanwhile."""
    with drill.gateway() as served:
        with drill.load(served, words=words):
            drill.grows(20)
            away()
            drill.troubled(served, store=store)
            drill.grows(20)
            before = drill.found() if store == "ok" else None
            back()
            drill.well(served)
            drill.grows(20)
        assert metric(served.url, "headrace_records_spilled_total") > 0
        drill.ends_well(served)
        log = served.log.read_text()
    assert "the store is away: records go to" in log and "nothing is left on the disk" in log
    return drill.ends(what, before)


def kill_both(
    drill: Drill, what: str, away: Callable[[], None], back: Callable[[], None], *, store: str = "error"
) -> Finding:
    """The store goes away, and then the gateway is killed; the next one has what it left."""
    with drill.gateway() as served, drill.load(served):
        drill.grows(20)
        away()
        drill.troubled(served, store=store)
        drill.grows(20)
        drill.kill9(served)
    assert drill.spilled()
    before = drill.found() if store == "ok" else None
    back()
    with drill.gateway() as served:
        drill.ends_well(served)
        log = served.log.read_text()
    assert "records of an earlier process wait in" in log and "nothing is left on the disk" in log
    # Asynchronously, an answer does not wait for the disk.
    return drill.ends(what, before, may_lose=drill.is_async)


def migrate(folder: Path, toml: str, *arguments: str) -> subprocess.Popen[str]:
    """``headrace store migrate``, begun."""
    (folder / "migrate.toml").write_text(toml)
    command = [HEADRACE, "store", "migrate", "--config", str(folder / "migrate.toml"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How it ended, and what it said."""
    out, errors = process.communicate(timeout=120)
    return process.returncode, out + errors


async def smoke(store: Any) -> None:
    """One record of each kind goes in and comes back: the schema is whole."""
    kinds = {type(record): record for record in EVERY.values()}
    async with store:
        await store.write(list(kinds.values()))
        for kind in kinds:
            assert await store.scan(kind), kind
        assert await store.inferences(InferenceQuery(limit=1))


class Disk:
    """A small disk at ``folder``: whoever makes one unmounts it. Raise OSError where that is not allowed."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        self._mount(f"size={size}")

    def resize(self, size: str) -> None:
        """Give it so much room in all."""
        self._mount(f"remount,size={size}")

    def leave(self, free_bytes: int) -> None:
        """Let there be so much free, and no more."""
        for tries_left in reversed(range(50)):
            about = os.statvfs(self.folder)
            used = (about.f_blocks - about.f_bfree) * about.f_frsize
            try:
                return self.resize(str(used + free_bytes))
            except OSError:  # somebody has written more than that since we looked
                if not tries_left:
                    raise

    def unmount(self) -> None:
        """Let it go; a file that is still open there does not stop this."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"cannot mount a small disk: {done.stderr.strip() or 'needs root'}")
