"""Below the bodies: compression, quiet streams, methods and parameters, and clients that go away."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import brotli  # type: ignore[import-untyped]  # it brings no types
import httpx
import pytest
from headrace.contracts import InferenceQuery
from headrace.errors import BadRequest
from headrace.http.app import create_app
from headrace.http.compression import plain
from headrace.http.errors import BadParameter, Edge, keep, native_body, path_uuid, query_whole
from headrace.http.routing import Route, introduce
from headrace.http.sse import EventStream, Pulse
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config as ServerConfig
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio

TOML = """
[models.good]
routing = ["p"]
[models.good.providers.p]
type = "scripted"
says = ["good ", "day"]

[models.slow]
routing = ["p"]
[models.slow.providers.p]
type = "scripted"
slow_s = 0.3
"""
ASK = {"model_name": "good", "input": {"messages": [{"role": "user", "content": "hello"}]}}


ZERO, NINES = "0" * 32, "9" * 5000


def _bare_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate-bare": ("deflate", _bare_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
}
EACH_CODING = pytest.mark.parametrize(("coding", "pack"), PACK.values(), ids=PACK.keys())


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client() as http``."""

    @asynccontextmanager
    async def open_(**options: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
        async with opened(TOML) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False, **options))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http

    return open_


# -- compression ------------------------------------------------------------------------------------------


@EACH_CODING
async def test_reads_compressed_bodies(client: Any, coding: str, pack: Callable[[bytes], bytes]) -> None:
    async with client() as http:
        body = pack(json.dumps(ASK).encode())
        reply = await http.post("/inference", content=body, headers={"content-encoding": coding.upper()})
    assert reply.status_code == 200


@EACH_CODING
def test_a_bomb_is_refused_before_it_goes_off(coding: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadRequest, match="413 Payload Too Large: the decompressed request body exceeds 1000 bytes"):
        plain(coding, pack(b"0" * 50_000_000), 1000)


@EACH_CODING
def test_exactly_the_bound_is_allowed(coding: str, pack: Callable[[bytes], bytes]) -> None:
    assert plain(coding, pack(b"0" * 1000), 1000) == b"0" * 1000


@EACH_CODING
@pytest.mark.parametrize("harm", [lambda body: b"", lambda body: body[:-3], lambda body: b"\xff\xfe\xfd" + body])
def test_broken_data_is_refused(coding: str, pack: Callable[[bytes], bytes], harm: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadRequest, match=f"Failed to decompress the request body as {coding}"):
        plain(coding, harm(pack(b"hello, hello, hello" * 100)), 10_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_follows_the_data_is_refused(coding: str) -> None:
    with pytest.raises(BadRequest, match="something follows it"):
        plain(coding, PACK[coding][1](b"a") * 2, 1000)


def test_a_window_beyond_8_mib_is_refused() -> None:
    wide: dict[int, int] = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    machine = zstd.ZstdCompressor(options=wide)
    with pytest.raises(BadRequest, match="Failed to decompress the request body as zstd"):
        plain("zstd", machine.compress(b"0" * 100) + machine.flush(), 1000)


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "x" * 1000])
async def test_an_unknown_coding_is_a_400_that_says_what_would_do(client: Any, coding: str) -> None:
    async with client() as http:
        reply = await http.post("/inference", json=ASK, headers={"content-encoding": coding})
    assert reply.status_code == 400
    assert reply.json()["error"].endswith("is not supported (supported, one at a time: gzip, deflate, br, zstd)")


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_no_coding_is_none(coding: str) -> None:
    assert plain(coding, b"a", 10) == b"a"


# -- streams ----------------------------------------------------------------------------------------------


class Listener:
    """The client's side of one stream; ``breaks_at`` messages it goes away."""

    def __init__(self, *, keep_alive_s: float, breaks_at: int | None = None, takes_s: float = 0) -> None:
        self.heard: list[bytes] = []
        self.scope: dict[str, Any] = {"type": "http"}
        self._breaks_at = breaks_at
        self._takes_s = takes_s
        self._at_work = False
        self._keep_alive_s = keep_alive_s

    async def listen(self, stream: EventStream) -> None:
        """Hear all of it, as an app would send it."""
        async with anyio.create_task_group() as tasks:
            keep(Edge(pulse=Pulse(self._keep_alive_s, tasks.start_soon)), self.scope)
            await stream(self.scope, self.receive, self.send)
            tasks.cancel_scope.cancel()

    async def receive(self) -> Any:
        await anyio.sleep_forever()

    async def send(self, message: Any) -> None:
        assert not self._at_work, "two messages at once"
        if self._breaks_at == len(self.heard):
            raise OSError("gone")
        self._at_work = True
        await anyio.sleep(self._takes_s)
        self._at_work = False
        if message["type"] == "http.response.body":
            self.heard.append(message["body"])


async def _words(pause_s: float, *words: bytes) -> AsyncGenerator[bytes, None]:
    for word in words:
        await anyio.sleep(pause_s)
        yield word


async def test_a_quiet_stream_says_that_it_lives_and_loses_nothing() -> None:
    listener = Listener(keep_alive_s=0.05)
    await listener.listen(EventStream(_words(0.2, b"a", b"b"), native_body))
    comment = b": keep-alive\n\n"
    assert [event for event in listener.heard if event != comment] == [
        b"data: a\n\n",
        b"data: b\n\n",
        b"data: [DONE]\n\n",
    ]
    first = listener.heard.index(b"data: a\n\n")
    assert listener.heard[:first].count(comment) >= 2
    assert listener.heard[first : listener.heard.index(b"data: b\n\n")].count(comment) >= 2


async def test_a_busy_stream_needs_no_comments() -> None:
    listener = Listener(keep_alive_s=5)
    await listener.listen(EventStream(_words(0, *[b"a"] * 100), native_body))
    assert len(listener.heard) == 101


async def test_comments_and_events_are_never_sent_at_once() -> None:
    listener = Listener(keep_alive_s=0.01, takes_s=0.02)
    await listener.listen(EventStream(_words(0.025, *[b"a"] * 10), native_body))
    assert listener.heard.count(b"data: a\n\n") == 10
    assert listener.heard[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize("breaks_at", [0, 1, 3])
async def test_a_stream_is_read_to_its_end_when_the_client_is_gone(breaks_at: int) -> None:
    read: list[int] = []

    async def events() -> AsyncGenerator[bytes, None]:
        for number in range(5):
            await anyio.sleep(0.02)
            read.append(number)
            yield b"x"

    listener = Listener(keep_alive_s=0.005, breaks_at=breaks_at)
    await listener.listen(EventStream(events(), native_body))
    assert read == [0, 1, 2, 3, 4]


async def test_another_dialect_has_its_own_frames_and_end() -> None:
    listener = Listener(keep_alive_s=5)
    stream = EventStream(_words(0, b"a"), native_body, frame=lambda data: b"event: e\ndata: " + data + b"\n\n", end=b"")
    await listener.listen(stream)
    assert listener.heard == [b"event: e\ndata: a\n\n", b""]


# -- methods, parameters, paths ------------------------------------------------------------------------------


async def _fine(request: Request) -> Response:
    return Response(b"fine")


async def _parameters(request: Request) -> Response:
    return Response(f"{path_uuid(request, 'id')} {query_whole(request, 'limit')}")


def _router() -> httpx.AsyncClient:
    routes = [
        Route("POST", "/things", _fine, native_body),
        Route("DELETE", "/things", _fine, native_body),
        Route("GET", "/things/{id}", _parameters, native_body),
    ]
    introduce(routes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(Router(routes)), base_url="http://gateway")


async def test_methods_of_one_path_know_each_other() -> None:
    async with _router() as http:
        assert (await http.post("/things")).text == (await http.delete("/things")).text == "fine"
        reply = await http.patch("/things")
    assert (reply.status_code, reply.content, reply.headers["allow"]) == (405, b"", "DELETE, POST")


@pytest.mark.parametrize(
    "path",
    [
        "x",
        f"{ZERO}?limit=-1",
        f"{ZERO}?limit=x",
        f"{ZERO}?limit=4294967296",
        f"{ZERO}?limit={NINES}",
        f"{ZERO}?limit=%D9%A1",
    ],
    ids=["no-uuid", "negative", "word", "too-large", "far-too-large", "arabic"],
)
async def test_a_bad_parameter_is_plain_text(path: str) -> None:
    async with _router() as http:
        reply = await http.get(f"/things/{path}")
    assert reply.status_code == BadParameter.http_status == 400
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.text.startswith(("Invalid URL: ", "Failed to deserialize query string: "))


async def test_a_good_parameter_is_read() -> None:
    async with _router() as http:
        reply = await http.get("/things/0193a5c0-0000-7000-8000-000000000000?limit=4294967295")
    assert reply.text == "0193a5c0-0000-7000-8000-000000000000 4294967295"


@pytest.mark.parametrize("path", ["/nope", "/inference/", "/no%2Fpe", "//", "/%ff"])
async def test_an_unknown_path_is_told_as_it_came(client: Any, path: str) -> None:
    async with client() as http:
        reply = await http.get(f"http://gateway{path}")
    assert (reply.status_code, reply.json()) == (404, {"error": f"Route not found: GET {path}"})


@pytest.mark.parametrize("id_", ["%0A0", "a%0A", "%0Aa/b%0D"])
async def test_a_line_break_in_a_path_is_a_part_of_it(client: Any, id_: str) -> None:
    async with client() as http:
        reply = await http.get(f"http://gateway/openai/v1/models/{id_}")
        end = await http.get("http://gateway/openai/v1/models%0A")
    assert reply.status_code == 404
    assert reply.json()["error"]["message"].startswith("Model not found: ")
    assert end.json() == {"error": "Route not found: GET /openai/v1/models%0A"}


async def test_errors_are_data_too_where_the_app_is_told_so(client: Any) -> None:
    async with client(error_json=True) as http:
        native = (await http.post("/inference", json={})).json()
        openai = (await http.post("/openai/v1/chat/completions", json={})).json()
    assert set(native) == {"error", "error_json"}
    assert set(openai["error"]) == {"message", "error_json", "tensorzero_error_json"}


# -- a real server ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the server that `headrace serve` runs
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_client_that_goes_away_leaves_a_finished_record(opened: Any, stream: bool) -> None:
    async with opened(TOML) as host, anyio.create_task_group() as tasks:
        server, stop = ServerConfig(), anyio.Event()
        listeners = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listeners.extra(anyio.abc.SocketAttribute.local_port)
        raw = listeners.listeners[0].extra(anyio.abc.SocketAttribute.raw_socket)
        server.bind = [f"fd://{raw.fileno()}"]
        app = create_app(host.gateway, owns_gateway=False)
        tasks.start_soon(partial(hypercorn_serve, app, server, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        body = json.dumps({**ASK, "model_name": "slow", "stream": stream}).encode()
        async with await anyio.connect_tcp("127.0.0.1", port) as connection:
            head = f"POST /inference HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n\r\n"
            await connection.send(head.encode() + body)
            await anyio.sleep(0.1)
        found: list[Any] = []
        with anyio.fail_after(5):
            while not found:
                await anyio.sleep(0.05)
                found = await host.store.inferences(InferenceQuery())
        stop.set()
        assert len(found) == 1
        assert found[0].output[0].text == "hi"
        raw.detach()
