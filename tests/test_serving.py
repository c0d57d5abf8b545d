"""Servers, shutdown, reload and several workers: what ``headrace serve`` promises, through real processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

HEADRACE = str(Path(sys.executable).with_name("headrace"))
TOML = """
[gateway.observability]
backend = "sqlite"

[sqlite]
path = "records.db"

[models.echo]
routing = ["echo"]
[models.echo.providers.echo]
type = "echo"

[models.slow]
routing = ["echo"]
[models.slow.providers.echo]
type = "echo"
delay_ms = 300
"""
CHANGED = TOML.replace("300", "301")
SERVERS = pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])


def connect(url: str) -> http.client.HTTPConnection:
    host, port = url.removeprefix("http://").split(":")
    return http.client.HTTPConnection(host, int(port), timeout=60)


def body(text: str = "hello", model: str = "echo", *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model_name": model, "input": {"messages": messages}, "stream": stream}).encode()


def get(url: str, path: str) -> tuple[int, bytes]:
    with closing(connect(url)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def post(connection: http.client.HTTPConnection, **asked: Any) -> int:
    connection.request("POST", "/inference", body(**asked))
    answer = connection.getresponse()
    answer.read()
    return answer.status


def post_once(url: str) -> int:
    with closing(connect(url)) as connection:
        return post(connection)


@contextmanager
def streaming(url: str, words: int) -> Iterator[http.client.HTTPResponse]:
    """A stream of so many words, one each 0.3 s, whose first has come."""
    with closing(connect(url)) as connection:
        connection.request("POST", "/inference", body("word " * words, "slow", stream=True))
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.readline().startswith(b"data: ")
        yield answer


def eventually(condition: Callable[[], bool], within_s: float = 60) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def inferences(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "records.db")) as database:
        count: int = database.execute("SELECT count(*) FROM inference").fetchone()[0]
        return count


def children(served: Any) -> list[int]:
    of = served.process.pid
    return [int(number) for number in Path(f"/proc/{of}/task/{of}/children").read_text().split()]


def requests_counted(url: str) -> float:
    found = re.findall(r"^tensorzero_requests_total\{.*\} (\S+)$", get(url, "/metrics")[1].decode(), re.MULTILINE)
    return sum(map(float, found))


# -- every server -----------------------------------------------------------------------------------------


@SERVERS
def test_a_server_answers_streams_records_who_leaves_and_cuts_who_dawdles(
    serve: Any, tmp_path: Path, server: str
) -> None:
    with serve(TOML, "--server", server) as served, socket.create_connection(address(served.url)) as dawdler:
        dawdler.sendall(b"GET /status HTTP/1.1\r\nhost: ")
        with closing(connect(served.url)) as connection:
            assert [post(connection), post(connection)] == [200, 200]
        assert get(served.url, "/health")[0] == 200
        with streaming(served.url, 3) as answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")
        with streaming(served.url, 10):
            pass  # leave
        assert eventually(lambda: inferences(tmp_path) == 4)
        dawdler.settimeout(20)
        assert dawdler.recv(100) == b""
        assert served.stop() == 0


def address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


@SERVERS
def test_a_stop_turns_health_first_and_finishes_streams(serve: Any, tmp_path: Path, server: str) -> None:
    with serve(TOML, "--server", server, "--drain-delay", "2") as served:
        with streaming(served.url, 10) as answer:
            served.process.send_signal(signal.SIGTERM)
            assert eventually(lambda: get(served.url, "/health")[0] == 503, within_s=2)
            status, health = get(served.url, "/health")
            assert (status, json.loads(health)["gateway"]) == (503, "error")
            assert answer.read().endswith(b"data: [DONE]\n\n")
        assert served.process.wait(30) == 0
        with pytest.raises(OSError, match="refused"):
            get(served.url, "/health")
        said = served.log.read_text()
        assert "Server shutdown in progress: 1 in-flight requests remaining" in said
        assert "└ `POST /inference` -> 1 requests in flight" in said
        assert "Server shutdown complete" in said
    assert inferences(tmp_path) == 1


@SERVERS
def test_a_reload_under_load_loses_no_request(serve: Any, tmp_path: Path, server: str) -> None:
    with serve(TOML, "--server", server) as served, ThreadPoolExecutor(4) as pool:
        before = json.loads(get(served.url, "/status")[1])["config_hash"]
        enough = threading.Event()
        answered: list[int] = []

        def keep_asking() -> None:
            with closing(connect(served.url)) as connection:
                while not enough.is_set():
                    answered.append(post(connection))

        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            assert eventually(lambda: len(answered) > 20)
            (old,) = children(served)
            (tmp_path / "headrace.toml").write_text(CHANGED)
            served.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: json.loads(get(served.url, "/status")[1])["config_hash"] != before)
            assert eventually(lambda: len(children(served)) == 1 and old not in children(served))
            since = len(answered)
            assert eventually(lambda: len(answered) > since + 20)
        finally:
            enough.set()
        for each in asking:
            each.result(30)
        assert set(answered) == {200}
        assert requests_counted(served.url) == len(answered)
        assert served.stop() == 0
    assert inferences(tmp_path) == len(answered)


# -- whichever server -------------------------------------------------------------------------------------


def test_a_configuration_that_cannot_be_served_changes_nothing(serve: Any, tmp_path: Path) -> None:
    with serve(TOML) as served:
        before = get(served.url, "/status")
        (tmp_path / "headrace.toml").write_text(TOML.replace('type = "echo"', 'type = "ecko"'))
        served.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "the old configuration serves on" in served.log.read_text())
        assert served.log.read_text().count("headrace: error: ") == 2
        assert get(served.url, "/status") == before
        (tmp_path / "headrace.toml").write_text(CHANGED)
        served.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: get(served.url, "/status") != before)
        assert served.stop() == 0


def test_workers_have_one_page_of_metrics_and_a_dead_one_is_replaced(serve: Any) -> None:
    with serve(TOML, "--workers", "2") as served:
        assert eventually(lambda: "2 workers serve" in served.log.read_text())
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: post_once(served.url), range(40))) == {200}
        assert {requests_counted(served.url) for _ in range(10)} == {40}
        dead, other = children(served)
        os.kill(dead, signal.SIGKILL)
        assert eventually(lambda: len(children(served)) == 2 and dead not in children(served))
        assert other in children(served)
        assert {requests_counted(served.url) for _ in range(10)} == {40}
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: post_once(served.url), range(10))) == {200}
        assert {requests_counted(served.url) for _ in range(10)} == {50}
        assert served.stop() == 0


def test_what_does_not_end_within_the_grace_is_cut_off(serve: Any) -> None:
    with serve(TOML, "--grace", "0.5") as served, streaming(served.url, 1000):
        assert served.stop() == 0
        assert "1 requests did not end within 0.5 s: they are cut off" in served.log.read_text()


def test_a_second_signal_ends_at_once(serve: Any) -> None:
    with serve(TOML) as served, streaming(served.url, 1000):
        (worker,) = children(served)
        served.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: "Server shutdown in progress" in served.log.read_text())
        assert served.stop() == 1
        assert eventually(lambda: not Path(f"/proc/{worker}").exists())


def test_the_process_that_holds_the_port_stays_small(serve: Any) -> None:
    with serve(TOML) as served:
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert resident is not None and int(resident[1]) < 30_000


def test_a_server_that_is_not_installed_is_told_with_what_installs_it(tmp_path: Path) -> None:
    command = (
        "import sys; from importlib.machinery import PathFinder\n"
        "class Hidden(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name == 'granian' else super().find_spec(name, path, target)\n"
        "sys.meta_path = [finder for finder in sys.meta_path if finder is not PathFinder] + [Hidden]\n"
        "from headrace.cli import main; main()"
    )
    arguments = ["serve", "--default-config", "--server", "granian", "--validate-and-exit"]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "--server granian: it is not installed; `pip install 'headrace[granian]'` installs it" in done.stderr


def test_a_start_that_fails_is_told_once_whatever_the_number_of_workers(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[gateway]\nnope = 1\n")
    done = subprocess.run(
        [HEADRACE, "serve", "--config", str(tmp_path / "bad.toml"), "--workers", "4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("headrace: error: ") == 1
