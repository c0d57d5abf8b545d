"""A running gateway that needs keys, under attack: no bytes on a wire get past it, and a key ends when it is ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from headrace.authentication import make_key
from headrace.contracts import InferenceQuery
from headrace_sqlite import Settings, Sqlite
from served import HEADRACE

TOML = """
[gateway]
observability.backend = "sqlite"
auth = { enabled = true, cache.ttl_ms = 200 }
[sqlite]
path = "headrace.db"
[models.echo]
routing = ["echo"]
providers.echo = { type = "echo" }
"""
TEXT, KEY = make_key(datetime.now(UTC))
SHOWN = {"authorization": f"Bearer {TEXT}"}
BODY = json.dumps({"model_name": "echo", "input": {"messages": [{"role": "user", "content": "hello"}]}}).encode()
ASK = b"POST /inference HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
METRICS = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
# What only who has a key may see: the page of metrics, an answer.
BEHIND = (b"# TYPE", b"inference_id")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store is. It knows one key."""
    path = tmp_path_factory.mktemp("authentication")

    async def fill() -> None:
        async with Sqlite(Settings(path=path / "headrace.db")) as store:
            await store.write([KEY])

    asyncio.run(fill())
    return path


@pytest.fixture
def served(serve: Any, folder: Path) -> Iterator[Any]:
    with serve(TOML.replace("headrace.db", f"{folder}/headrace.db")) as served:
        yield served


def said(url: str, *sent: bytes) -> bytes:
    """All that a server says to these bytes until it hangs up, or says nothing for a second."""
    parts, told = urlsplit(url), b""
    with closing(socket.create_connection((parts.hostname, parts.port), timeout=1.0)) as wire:
        try:
            for part in sent:
                wire.sendall(part)
            while chunk := wire.recv(65536):
                told += chunk
        except OSError:  # it hung up, or has nothing more to say
            pass
    return told


def head(*lines: bytes, line: bytes = b"POST /health HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"host: x", *lines, b"", b""))


CHUNKED = b"transfer-encoding: chunked"
AUTHORIZED = b"authorization: Bearer " + TEXT.encode()

ATTACKS: dict[str, bytes] = {
    # What follows a request that needs no key, for servers that do not agree where it ends.
    "pipelined": head(line=b"GET /health HTTP/1.1") + METRICS + ASK,
    "CL.TE": head(b"content-length: 5", CHUNKED) + b"0\r\n\r\n" + METRICS + ASK,
    "TE.CL": head(CHUNKED, b"content-length: 4") + b"5c\r\n" + METRICS + b"0\r\n\r\n",
    "CL.CL": head(b"content-length: 0", b"content-length: %d" % len(METRICS)) + METRICS,
    "CL.CL in one": head(b"content-length: 0, %d" % len(METRICS)) + METRICS,
    "CL with a sign": head(b"content-length: +0") + METRICS,
    "CL with a space": head(b"content-length: 0 0") + METRICS,
    "negative CL": head(b"content-length: -1") + METRICS,
    "TE twice": head(CHUNKED, b"transfer-encoding: identity") + b"0\r\n\r\n" + METRICS,
    "TE of no name": head(b"transfer-encoding: xchunked", b"content-length: 0") + METRICS,
    "TE with a tab": head(b"transfer-encoding:\tchunked", b"content-length: 9") + b"0\r\n\r\n" + METRICS,
    "TE before a space": head(b"transfer-encoding : chunked", b"content-length: 0") + METRICS,
    "TE folded": head(b"transfer-encoding:\r\n chunked", b"content-length: 0") + b"0\r\n\r\n" + METRICS,
    "chunk extension": head(CHUNKED) + b"0;x=\r\n\r\n\r\n" + METRICS,
    "chunk of no size": head(CHUNKED) + b"\r\n" + METRICS,
    "chunk too long": head(CHUNKED) + b"fffffffffffffffff0\r\n" + METRICS,
    "bare LF": b"POST /health HTTP/1.1\nhost: x\ncontent-length: 0\n\n" + METRICS.replace(b"\r\n", b"\n"),
    "two requests in a line": b"GET /health HTTP/1.1\rGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
    # Another request line.
    "absolute form": head(line=b"GET http://x/metrics HTTP/1.1"),
    "absolute form of an exempt path": head(line=b"GET http://x/health/../metrics HTTP/1.1"),
    "encoded": head(line=b"GET /%6d%65trics HTTP/1.1"),
    "encoded slash": head(line=b"GET /health%2f..%2fmetrics HTTP/1.1"),
    "encoded dots": head(line=b"GET /health/%2e%2e/metrics HTTP/1.1"),
    "dots": head(line=b"GET /health/../metrics HTTP/1.1"),
    "slashes": head(line=b"GET //metrics HTTP/1.1"),
    "exempt slashes": head(line=b"GET //health/../metrics HTTP/1.1"),
    "semicolon": head(line=b"GET /health;/../metrics HTTP/1.1"),
    "backslash": head(line=b"GET /health\\..\\metrics HTTP/1.1"),
    "fragment": head(line=b"GET /metrics#/health HTTP/1.1"),
    "query": head(line=b"GET /metrics?/health HTTP/1.1"),
    "question mark": head(line=b"GET /metrics%3f/../health HTTP/1.1"),
    "nul": head(line=b"GET /metrics%00/health HTTP/1.1"),
    "HTTP/1.0": b"GET /metrics HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /metrics\r\n\r\n",
    "another method": head(line=b"HEALTH /metrics HTTP/1.1"),
    # Headers that mean something to others.
    "host": b"GET /metrics HTTP/1.1\r\nhost: /health\r\n\r\n",
    "two hosts": head(b"host: localhost", line=b"GET /metrics HTTP/1.1"),
    "proxies' words": head(
        b"x-original-url: /health",
        b"x-rewrite-url: /health",
        b"x-forwarded-uri: /health",
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-user: admin",
        b"x-http-method-override: OPTIONS",
        b"headrace.api_key_public_id: " + KEY.public_id.encode(),
        line=b"GET /metrics HTTP/1.1",
    ),
    "upgrade": head(b"connection: upgrade", b"upgrade: websocket", line=b"GET /metrics HTTP/1.1"),
    # A good key, but not in the header.
    "key in a folded line": head(b"x-a: b", b" " + AUTHORIZED, line=b"GET /metrics HTTP/1.1"),
    "key before a space": head(AUTHORIZED.replace(b":", b" :", 1), line=b"GET /metrics HTTP/1.1"),
    "key in a query": head(line=b"GET /metrics?authorization=Bearer%20" + TEXT.encode() + b" HTTP/1.1"),
    "key in a trailer": head(CHUNKED, line=b"POST /inference HTTP/1.1")
    + b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(BODY), BODY, AUTHORIZED),
    "key and another": head(AUTHORIZED, b"authorization: Bearer x", line=b"GET /metrics HTTP/1.1"),
    "key of the request before": head(AUTHORIZED, line=b"GET /status HTTP/1.1") + METRICS + ASK,
    "key with a wrong secret": head(AUTHORIZED[:-1] + b"_", line=b"GET /metrics HTTP/1.1"),
}


def test_no_bytes_on_the_wire_get_past(served: Any, folder: Path) -> None:
    for name, attack in ATTACKS.items():
        told = said(served.url, attack)
        assert not any(seen in told for seen in BEHIND), (name, told)
    inferences = asyncio.run(_recorded(folder))
    assert inferences == 0
    assert "Traceback" not in served.log.read_text()
    assert TEXT.rpartition("-")[2] not in served.log.read_text()
    # And the ways in are open all the while.
    assert b"# TYPE" in said(served.url, head(AUTHORIZED, line=b"GET /metrics HTTP/1.1"))
    assert httpx.post(f"{served.url}/inference", content=BODY, headers=SHOWN).status_code == 200
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_over_http_2_it_is_the_same(served: Any) -> None:
    with httpx.Client(base_url=served.url, http1=False, http2=True) as http:
        assert http.get("/metrics").status_code == 401
        assert http.get("/health/../metrics").status_code == 401
        assert http.get("/metrics", headers=SHOWN).status_code == 200
        assert http.get("/metrics").status_code == 401, "each request shows its own"
        both = [("authorization", SHOWN["authorization"]), ("authorization", "Bearer x")]
        assert http.get("/metrics", headers=both).status_code == 401
        assert http.get("/health").status_code == 200


@pytest.mark.parametrize("size", [0, 1_000_000, 20_000_000])
def test_whoever_sends_a_large_body_is_told_too(served: Any, size: int) -> None:
    with httpx.Client(base_url=served.url) as http:
        for _ in range(3):
            reply = http.post("/inference", content=b" " * size)
            assert reply.status_code == 401
            assert "Authorization header is required" in reply.json()["error"]
        assert http.get("/health").status_code == 200


def test_a_key_ends_when_it_is_disabled_and_begins_when_it_is_made(serve: Any, tmp_path: Path) -> None:
    toml = TOML.replace("headrace.db", f"{tmp_path}/other.db")
    with serve(toml, "--workers", "2") as served:
        made = keys(tmp_path, "create")
        headers = {"authorization": f"Bearer {made}"}
        for _ in range(20):
            assert httpx.get(f"{served.url}/metrics", headers=headers).status_code == 200
        keys(tmp_path, "disable", made.split("-")[2])
        ended = time.monotonic()
        while httpx.get(f"{served.url}/metrics", headers=headers).status_code == 200:
            assert time.monotonic() - ended < 5
        # Each worker has its own memory; once it has passed, none of them takes it.
        while time.monotonic() - ended < 0.5:
            httpx.get(f"{served.url}/health")
        for _ in range(20):
            reply = httpx.get(f"{served.url}/metrics", headers=headers)
            assert reply.status_code == 401
            assert "API key was disabled at: " in reply.json()["error"]
        secret = made.rpartition("-")[2]
        assert secret not in served.log.read_text()
        kept = (tmp_path / "other.db").read_bytes() + (tmp_path / "other.db-wal").read_bytes()
        assert secret.encode() not in kept
        assert hashlib.sha256(secret.encode()).hexdigest().encode() in kept


def keys(folder: Path, *arguments: str) -> str:
    """What ``headrace keys`` says."""
    command = [HEADRACE, "keys", *arguments, "--config", "headrace.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


async def _recorded(folder: Path) -> int:
    async with Sqlite(Settings(path=folder / "headrace.db")) as store:
        return await store.count_inferences(InferenceQuery())
