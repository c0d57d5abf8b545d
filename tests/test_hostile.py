"""A running gateway under attack: every answer is specified, the next caller is served at once, no memory is lost."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from upstreams import web

from conftest import Serve, Served

MIB = 2**20
# An answer takes some ms, and on a busy machine a hundred: more than this is somebody else's work being waited for.
NORMAL_S = 2.0
# No attack's own size is in it: bodies of 100 MiB go back to the system, as they are larger than any arena. What may
# stay is what is made once (caches of compiled schemas, threads' stacks, the interpreter's own arenas in pieces).
KEPT_MIB = 64

TOML = """
[gateway]
fetch_and_encode_input_files_before_inference = true
unstable_disable_feedback_target_validation = true
observability.backend = "sqlite"
[object_storage]
type = "filesystem"
path = "."

[models.echo]
routing = ["echo"]
providers.echo = {{ type = "echo" }}
[models.up]
routing = ["up"]
providers.up = {{ type = "openai", model_name = "m", api_base = "{upstream}", api_key_location = "none" }}

[functions.chat]
type = "chat"
variants.v = {{ type = "chat_completion", model = "echo" }}
[functions.json]
type = "json"
variants.v = {{ type = "chat_completion", model = "echo", json_mode = "on" }}
"""


def said(*content: Any, **more: Any) -> dict[str, Any]:
    """A body of ``POST /inference`` with one message; not recorded, so that nothing of it has to stay."""
    return {
        "function_name": "chat",
        "dryrun": True,
        "input": {"messages": [{"role": "user", "content": list(content)}]},
        **more,
    }


HELLO = {"type": "text", "text": "hello"}


class Target:
    """A gateway, and what each attack on it may cost."""

    def __init__(self, served: Served) -> None:
        self.url = served.url
        self.http = httpx.Client(base_url=served.url, timeout=30)
        self._status = Path(f"/proc/{served.process.pid}/status")
        self._log = served.log
        for _ in range(20):
            self.is_well()
        self._before = self.memory_mib("VmRSS")

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers=headers)

    def is_well(self) -> None:
        """Another caller gets an answer in normal time."""
        begun = time.monotonic()
        reply = self.post("/inference", said(HELLO))
        assert reply.status_code == 200, reply.text
        assert time.monotonic() - begun < NORMAL_S

    @contextmanager
    def attacked(self, name: object) -> Iterator[None]:
        """Do it inside; afterwards all has to be as before."""
        yield
        self.is_well()
        assert self.memory_mib("VmRSS") - self._before < KEPT_MIB, name
        assert "Internal error" not in self._log.read_text(), name
        assert "Traceback" not in self._log.read_text(), name

    def memory_mib(self, field: str) -> float:
        """``VmRSS`` now, or ``VmHWM`` at its highest."""
        [line] = [line for line in self._status.read_text().splitlines() if line.startswith(f"{field}:")]
        return int(line.split()[1]) / 1024


@pytest.fixture
def target(serve: Serve) -> Iterator[Target]:
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    with web({}) as nothing, serve(TOML.format(upstream=nothing)) as served:
        yield Target(served)


# -- bytes ------------------------------------------------------------------------------------------------


def raw(url: str, *parts: bytes, shut: bool = False, timeout: float = 30) -> bytes:
    """What a server says to these bytes until it closes, or until nothing comes any more."""
    parts_ = urlsplit(url)
    told = b""
    with closing(socket.create_connection((parts_.hostname, parts_.port), timeout=timeout)) as wire:
        try:
            for part in parts:
                wire.sendall(part)
            if shut:
                wire.shutdown(socket.SHUT_WR)
            while chunk := wire.recv(65536):
                told += chunk
                if b"\r\n\r\n" in told and b"}" in told:
                    break
        except (ConnectionError, TimeoutError):
            pass
    return told


POST = b"POST /inference HTTP/1.1\r\nhost: x\r\n"


def test_a_body_that_is_too_large_is_refused_and_not_kept(target: Target) -> None:
    size = 100 * MIB + 1
    with target.attacked("content-length"):
        reply = target.http.post(
            "/inference", content=(b" " * MIB for _ in range(101)), headers={"content-length": str(101 * MIB)}
        )
        assert (reply.status_code, reply.json()["error"][:3]) == (400, "413")
    with target.attacked("in chunks, without an end"):
        part = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
        told = raw(target.url, POST + b"transfer-encoding: chunked\r\n\r\n", *(part for _ in range(300)))
        assert told in (b"",) or b" 400 " in told.partition(b"\r\n")[0]
    # The body once in pieces, once whole, and a third time while pieces become the whole.
    assert target.memory_mib("VmHWM") < 3 * size / MIB + 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_small_body_does_not_become_a_large_one(target: Target, coding: str) -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = b"".join([*(machine.compress(b" " * MIB) for _ in range(2048)), machine.flush()])
    assert len(bomb) < 3 * MIB
    with target.attacked(coding):
        reply = target.post("/inference", bomb, **{"content-encoding": coding})
        assert (reply.status_code, reply.json()["error"][:3]) == (400, "413")
    with target.attacked("a bomb in a bomb"):
        reply = target.post("/inference", gzip.compress(bomb), **{"content-encoding": f"{coding}, gzip"})
        assert (reply.status_code, reply.json()["error"][:3]) == (400, "415")
    with target.attacked("cut short"):
        assert target.post("/inference", bomb[:1000], **{"content-encoding": coding}).status_code == 400


@pytest.mark.parametrize(
    "sent",
    [
        [POST + b"content-length: 1000\r\n\r\n{"],
        [POST + b"transfer-encoding: chunked\r\n\r\n5\r\n{"],
        [POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"],
        [POST + b"content-length: -1\r\n\r\n"],
        [POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}"],
        [POST + b"content-length: 99999999999999999999\r\n\r\n{"],
        [POST + b"x: " + b"y" * MIB],
        [POST + b"x\r\n\r\n"],
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        [b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
        [b"GET /status\x00 HTTP/1.1\r\nhost: x\r\n\r\n"],
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 1000],
    ],
    ids=lambda sent: repr(sent[0][:90]),
)
def test_a_broken_request_breaks_nothing_else(target: Target, sent: list[bytes]) -> None:
    with target.attacked(sent[0][:100]):
        told = raw(target.url, *sent, shut=True, timeout=8)
        assert not told.startswith(b"HTTP/1.1 5")


def test_slow_callers_keep_nobody_else_waiting(target: Target) -> None:
    parts = urlsplit(target.url)
    wires = []
    for beginning in (b"POST /infer", POST, POST + b"content-length: 100\r\n\r\n{"):
        for _ in range(60):
            wire = socket.create_connection((parts.hostname, parts.port))
            wire.sendall(beginning)
            wires.append(wire)
    with target.attacked("slow loris"):
        for _ in range(5):
            for wire in wires:
                try:
                    wire.sendall(b"x")
                except OSError:  # the server may well be tired of it
                    pass
            target.is_well()
    for wire in wires:
        wire.close()
    target.is_well()


# -- JSON -------------------------------------------------------------------------------------------------

DEEP = 100_000
NESTED = {"arrays": "[" * DEEP + "]" * DEEP, "objects": '{"a":' * DEEP + "1" + "}" * DEEP}
HERE = "@@"
ECHO = "tensorzero::model_name::echo"
# Every place that takes JSON of the caller's own.
PLACES: dict[str, tuple[str, Any]] = {
    "arguments": ("/inference", said({"type": "template", "name": "t", "arguments": {"a": HERE}})),
    "system": ("/inference", {**said(HELLO), "input": {"system": {"a": HERE}, "messages": []}}),
    "tool_call": ("/inference", said({"type": "tool_call", "id": "1", "name": "n", "arguments": {"a": HERE}})),
    "unknown": ("/inference", said({"type": "unknown", "data": HERE})),
    "extra_data": ("/inference", said({"type": "thought", "text": "x", "extra_data": HERE})),
    "parameters": (
        "/inference",
        said(HELLO, additional_tools=[{"name": "n", "description": "", "parameters": {"a": HERE}}]),
    ),
    "output_schema": ("/inference", said(HELLO, function_name="json", output_schema={"properties": {"a": HERE}})),
    "extra_body": ("/inference", said(HELLO, extra_body=[{"pointer": "/a", "value": HERE}])),
    "provider_tools": ("/inference", said(HELLO, provider_tools=[{"tool": {"a": HERE}}])),
    "inline variant": (
        "/inference",
        said(HELLO, internal_dynamic_variant_config={"type": "chat_completion", "model": "echo", "a": HERE}),
    ),
    "feedback": ("/feedback", {"metric_name": "comment", "value": HERE, "inference_id": "1"}),
    "unknown field": (
        "/openai/v1/chat/completions",
        {"model": ECHO, "messages": [], "x": HERE},
    ),
    "message": (
        "/openai/v1/chat/completions",
        {"model": ECHO, "messages": [{"role": "user", "content": HERE}]},
    ),
    "item": ("/openai/v1/responses", {"model": ECHO, "input": [{"a": HERE}]}),
    "tool_use": (
        "/anthropic/v1/messages",
        {
            "model": ECHO,
            "max_tokens": 1,
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "n", "input": {"a": HERE}}]}
            ],
        },
    ),
    "filter": ("/v1/datasets/d/list_datapoints", {"filter": {"a": HERE}}),
    "batch": ("/batch_inference", {"function_name": "chat", "inputs": [{"system": {"a": HERE}}]}),
}


def test_nesting_ends_at_a_bound_wherever_it_is(target: Target) -> None:
    for name, (path, body) in PLACES.items():
        text = json.dumps(body)
        assert text.count(f'"{HERE}"') == 1
        for kind, nested in NESTED.items():
            with target.attacked(f"{kind} in {name}"):
                reply = target.post(path, text.replace(f'"{HERE}"', nested).encode())
                assert (reply.status_code, "nested deeper than 128" in reply.text) == (400, True), name
        with target.attacked(f"a million brackets in {name}"):
            reply = target.post(path, text.replace(f'"{HERE}"', "[" + ",".join(["[]"] * 300_000) + "]").encode())
            assert reply.status_code < 500 or reply.status_code in (501, 502), name
    with target.attacked("JSON in a text, as deep as it likes"):
        for nested in NESTED.values():
            reply = target.post("/inference", said({"type": "raw_text", "value": nested}, function_name="json"))
            assert reply.status_code == 200
            call = {"type": "tool_call", "id": "1", "name": "n", "arguments": nested}
            assert target.post("/inference", said(call, HELLO)).status_code == 200


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1" + "0" * 4000, "0." + "1" * 5000, "1e-4000", "NaN", "Infinity", "1e99999999999"]
)
def test_no_number_is_too_much(target: Target, number: str) -> None:
    places = dict(PLACES, temperature=("/inference", said(HELLO, params={"chat_completion": {"temperature": HERE}})))
    places["seed"] = (
        "/openai/v1/chat/completions",
        {"model": ECHO, "messages": [], "seed": HERE},
    )
    with target.attacked(number):
        for name, (path, body) in places.items():
            reply = target.post(path, json.dumps(body).replace(f'"{HERE}"', number).encode())
            assert reply.status_code < 500 or reply.status_code in (501, 502), (name, reply.text)


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800", b"\x00"], ids=repr
)
def test_what_is_no_utf_8_is_no_json(target: Target, text: bytes) -> None:
    with target.attacked(text):
        for path, body in [*PLACES.values(), ("/inference", said({"type": "text", "text": HERE}))]:
            reply = target.post(path, json.dumps(body).encode().replace(HERE.encode(), text))
            assert reply.status_code == 400, (path, reply.text)
            assert "error" in reply.json()
