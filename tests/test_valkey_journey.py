"""Gateways as their users run them, with a Valkey between them that goes away and comes back."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines.valkey import Server, running, why_not

pytestmark = pytest.mark.valkey

CONFIG = """
[gateway.observability]
backend = "memory"

[models.echo]
routing = ["echo"]
[models.echo.providers.echo]
type = "echo"
"""

ASK = {
    "model_name": "echo",
    "input": {"messages": [{"role": "user", "content": "hello"}]},
    "cache_options": {"enabled": "on"},
}


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    if reason := why_not():
        pytest.skip(reason)
    with running(tmp_path) as server:
        yield server


def call(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """The status and what was answered."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def is_cached(url: str, *, within_s: float = 30) -> bool:
    """Ask until the answer comes from the cache, which takes a moment: it is written behind the first one's back."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        status, answer = call(f"{url}/inference", ASK)
        assert status == 200
        if answer["usage"]["input_tokens"] == 0:
            return True
    return False


def test_gateways_share_answers_and_go_on_without_them(serve: Any, valkey: Server) -> None:
    environment = {"HEADRACE_VALKEY_URL": valkey.url}
    with serve(CONFIG, name="one", **environment) as one, serve(CONFIG, name="other", **environment) as other:
        assert is_cached(one.url)
        assert call(f"{other.url}/inference", ASK)[1]["usage"]["input_tokens"] == 0
        assert call(f"{other.url}/health")[0] == 200

        valkey.kill9()
        for _ in range(20):
            status, answer = call(f"{other.url}/inference", ASK)
            assert (status, answer["usage"]["input_tokens"] > 0) == (200, True)
        status, health = call(f"{other.url}/health")
        assert (status, health["valkey"], health["valkey_cache"], health["store"]) == (503, "error", "error", "ok")

        valkey.start()
        assert is_cached(other.url)
        assert call(f"{other.url}/health")[0] == 200
    told = [line for line in other.log.read_text().splitlines() if "valkey" in line.lower()]
    assert len(told) == 2, told  # that it went, and that it is back
    assert "s3cr" not in other.log.read_text()


LIMIT = """
[[rate_limiting.rules]]
always = true
model_inferences_per_hour = 5
"""


def test_gateways_share_limits_and_refuse_without_them(serve: Any, valkey: Server) -> None:
    environment = {"HEADRACE_VALKEY_URL": valkey.url}
    ask = {key: value for key, value in ASK.items() if key != "cache_options"}
    with (
        serve(CONFIG + LIMIT, name="one", **environment) as one,
        serve(CONFIG + LIMIT, name="other", **environment) as other,
    ):
        said = [call(f"{each.url}/inference", ask)[0] for _ in range(4) for each in (one, other)]
        assert said == [200] * 5 + [429] * 3
        valkey.kill9()
        status, answer = call(f"{one.url}/inference", ask)
        assert (status >= 500, "does not answer" in str(answer)) == (True, True), answer
        valkey.start()  # it keeps nothing, so there is another five
        until = time.monotonic() + 30
        while call(f"{one.url}/inference", ask)[0] != 200:
            assert time.monotonic() < until
