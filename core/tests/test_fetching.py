"""What fetching a caller's URL promises: whole, bounded, only from public addresses, each at most once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import anyio
import httpcore
import pytest
from anyio.abc import SocketStream
from headrace.conformance.server import Request, Respond, never, proxy_environment, reset, saying, serving
from headrace.conformance.suite import nothing_left_over
from headrace.errors import FetchError
from headrace.fetching import Fetcher

pytestmark = pytest.mark.anyio


def ok(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 200 OK\r\n" + head + b"content-length: %d\r\n\r\n" % len(body) + body


def moved(to: str, status: int = 302) -> bytes:
    return b"HTTP/1.1 %d Found\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % (status, to.encode())


def local(**options: Any) -> Fetcher:
    """A fetcher that may reach the test's own server."""
    return Fetcher(**{"max_bytes": 1000, "timeout_s": 5, "allow_private_addresses": True, **options})


class World:
    """Names and their addresses, look-up by look-up; every address leads to one server on loopback."""

    def __init__(self, names: dict[str, list[list[str]]], url: str) -> None:
        self.names = names
        self.connected: list[str] = []
        self._port = int(url.rpartition(":")[2])
        self.network = self.Network(self)

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """The next answer for this name; the last one stays."""
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    class Network(httpcore.AsyncNetworkBackend):
        def __init__(self, world: World) -> None:
            self._world = world

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.AsyncNetworkStream:
            self._world.connected.append(host)
            if host == "1.0.0.1":
                raise httpcore.ConnectError("refused")
            return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self._world._port, timeout)

    def fetcher(self, **options: Any) -> Fetcher:
        """A careful fetcher in this world."""
        return local(allow_private_addresses=False, look_up=self.look_up, network=self.network, **options)


# -- plain ------------------------------------------------------------------------------------------------


async def test_brings_the_bytes_and_the_content_type() -> None:
    with nothing_left_over():
        async with serving(saying(ok(b"abc", b"content-type: image/png"))) as server, local() as fetcher:
            assert await fetcher.fetch(f"{server.url}/a%20b/\xe4?q=1&r=%2F") == (b"abc", "image/png")
            assert await fetcher.fetch(f"{server.url}#part") == (b"abc", "image/png")
    assert [request.target for request in server.requests] == ["/a%20b/%C3%A4?q=1&r=%2F", "/"]
    assert server.requests[0].headers["host"] == server.url.removeprefix("http://")
    assert not {"cookie", "authorization"} & set(server.requests[0].headers)


async def test_an_answer_without_a_type_has_none() -> None:
    async with serving(saying(ok(b""))) as server, local() as fetcher:
        assert await fetcher.fetch(server.url) == (b"", None)


async def test_knows_no_proxy() -> None:
    with proxy_environment(HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1"):
        async with serving(saying(ok(b"abc"))) as server, local() as fetcher:
            assert (await fetcher.fetch(server.url))[0] == b"abc"


@pytest.mark.parametrize("status", [b"404 Not Found", b"500 Oops", b"304 Not Modified", b"206 x"])
async def test_any_other_status_is_an_error_but_2xx(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n"
    async with serving(saying(answer)) as server, local() as fetcher:
        if status.startswith(b"2"):
            assert await fetcher.fetch(server.url) == (b"", None)
        else:
            with pytest.raises(FetchError, match=f"^Error fetching file from URL: .*{status[:3].decode()}"):
                await fetcher.fetch(server.url)


async def hang_up(request: Request, stream: SocketStream) -> None:
    await reset(stream)


@pytest.mark.parametrize(
    "respond",
    [
        saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc\r\n\r\n"[:44]),
        saying(b"not http at all\r\n\r\n"),
        saying(ok(b"abc", b"content-encoding: gzip")),
        hang_up,
    ],
    ids=["half", "garbage", "compressed", "reset"],
)
async def test_half_an_answer_is_none(respond: Respond) -> None:
    with nothing_left_over():
        async with serving(respond) as server, local(timeout_s=1) as fetcher:
            with pytest.raises(FetchError, match="Error fetching file from URL"):
                await fetcher.fetch(server.url)


async def test_nobody_there_is_an_error() -> None:
    async with serving(never) as server:
        pass
    async with local() as fetcher:
        with pytest.raises(FetchError):
            await fetcher.fetch(server.url)
        with pytest.raises(FetchError):
            await fetcher.fetch("http://nobody.invalid/")


async def test_errors_do_not_show_a_signed_urls_secret() -> None:
    async with serving(saying(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")) as server, local() as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch(f"{server.url}/f?signature=SECRET")
    assert "/f" in str(caught.value) and "SECRET" not in str(caught.value)


# -- bounds -----------------------------------------------------------------------------------------------


async def endless(request: Request, stream: SocketStream) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"400\r\n" + bytes(0x400) + b"\r\n")


async def drip(request: Request, stream: SocketStream) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n")
    while True:
        await stream.send(b"x")
        await anyio.sleep(0.02)


@pytest.mark.parametrize("respond", [endless, saying(ok(bytes(1001)))], ids=["endless", "announced"])
async def test_reads_no_more_than_the_bound(respond: Respond) -> None:
    with nothing_left_over():
        async with serving(respond) as server, local() as fetcher:
            with pytest.raises(FetchError, match="larger than 1000 bytes"):
                await fetcher.fetch(server.url)


async def test_a_body_of_exactly_the_bound_is_fine() -> None:
    async with serving(saying(ok(bytes(1000)))) as server, local() as fetcher:
        assert len((await fetcher.fetch(server.url))[0]) == 1000


@pytest.mark.parametrize("respond", [never, drip], ids=["silent", "dripping"])
async def test_the_whole_download_has_one_time_limit(respond: Respond) -> None:
    with nothing_left_over():
        async with serving(respond) as server, local(timeout_s=0.3) as fetcher:
            with pytest.raises(FetchError, match=r"within 0\.3 s"), anyio.fail_after(3):
                await fetcher.fetch(server.url)


# -- redirects --------------------------------------------------------------------------------------------


async def hop(request: Request, stream: SocketStream) -> None:
    """/3 leads to /2 leads to /1 leads to the file."""
    left = int(request.target.strip("/"))
    await stream.send(moved(f"/{left - 1}", 301 + left % 3) if left else ok(b"there"))


async def test_follows_redirects_up_to_the_bound() -> None:
    async with serving(hop) as server, local(max_redirects=3) as fetcher:
        assert (await fetcher.fetch(f"{server.url}/3"))[0] == b"there"
        with pytest.raises(FetchError, match="more than 3 redirects"):
            await fetcher.fetch(f"{server.url}/4")


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://x/", "http://u:p@x/", "//", "http://[::1", "gopher://x", "http:// x"]
)
async def test_a_redirect_is_checked_like_the_first_url(to: str) -> None:
    async with serving(saying(moved(to))) as server, local() as fetcher:
        with pytest.raises(FetchError):
            await fetcher.fetch(server.url)
    assert len(server.requests) <= 1 or to == "//"


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    async with serving(saying(moved("http://inside.example/"))) as server:
        world = World({"outside.example": [["1.1.1.1"]], "inside.example": [["10.0.0.8"]]}, server.url)
        async with world.fetcher() as fetcher:
            with pytest.raises(FetchError, match="not public"):
                await fetcher.fetch("http://outside.example/")
    assert world.connected == ["1.1.1.1"]


# -- addresses --------------------------------------------------------------------------------------------


async def test_connects_to_the_address_that_was_checked_and_not_to_a_later_one() -> None:
    async with serving(saying(ok(b"abc"))) as server:
        world = World({"rebinding.example": [["1.1.1.1"], ["127.0.0.1"]]}, server.url)
        async with world.fetcher() as fetcher:
            assert (await fetcher.fetch("http://rebinding.example/"))[0] == b"abc"
            with pytest.raises(FetchError, match="not public"):
                await fetcher.fetch("http://rebinding.example/")
    assert world.connected == ["1.1.1.1"]
    assert server.requests[0].headers["host"] == "rebinding.example"


async def test_one_private_address_condemns_a_name() -> None:
    async with serving(saying(ok(b"abc"))) as server:
        world = World({"mixed.example": [["1.1.1.1", "192.168.0.1"]], "none.example": [[]]}, server.url)
        async with world.fetcher() as fetcher:
            for name in world.names:
                with pytest.raises(FetchError):
                    await fetcher.fetch(f"http://{name}/")
    assert world.connected == []


async def test_tries_the_next_address() -> None:
    async with serving(saying(ok(b"abc"))) as server:
        world = World({"two.example": [["1.0.0.1", "1.1.1.1"]], "down.example": [["1.0.0.1"]]}, server.url)
        async with world.fetcher() as fetcher:
            assert (await fetcher.fetch("http://two.example/"))[0] == b"abc"
            with pytest.raises(FetchError, match="refused"):
                await fetcher.fetch("http://down.example/")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"]
)
async def test_no_spelling_of_loopback_gets_through(host: str) -> None:
    async with (
        serving(saying(ok(b"abc"))) as server,
        Fetcher(max_bytes=10, timeout_s=5, max_redirects=0, allow_private_addresses=False) as fetcher,
    ):
        port = server.url.rpartition(":")[2]
        with pytest.raises(FetchError):
            await fetcher.fetch(f"http://{host}:{port}/")
    assert server.connections == 0


async def test_a_tls_handshake_that_never_ends_leaves_no_socket_open() -> None:
    with nothing_left_over():
        async with serving(saying(ok(b"abc"))) as server, local(timeout_s=0.3) as fetcher:
            with pytest.raises(FetchError, match="within"):
                await fetcher.fetch(server.url.replace("http:", "https:"))
    assert server.requests == []


BAD = {
    "file": "file:///etc/passwd",
    "gs": "gs://bucket/x",
    "data": "data:image/png;base64,AAAA",
    "none": "example.com/x",
    "empty": "",
    "no host": "http:///x",
    "user": "http://user@example.com/",
    "password": "http://user:secret@example.com/",
    "at": "http://a@b@example.com/",
    "port": "http://example.com:99999/",
    "port word": "http://example.com:http/",
    "space": "http://example.com/a b",
    "newline": "http://example.com/\r\nx: y",
    "nul": "http://example.com/\0",
    "backslash": "http://example.com\\@evil/",
    "bracket": "http://[::1/",
    "dots": "http://a..b/",
    "label": f"http://{'a' * 64}.com/",
    "percent": "http://%31%32/",
    "zone": "http://[fe80::1%25eth0]/",
    "long": "http://example.com/" + "a" * 9000,
    "surrogate": "http://example.com/\ud800",
    "surrogate host": "http://\ud800.com/",
}


@pytest.mark.parametrize("url", BAD.values(), ids=BAD)
async def test_refuses_what_is_not_a_plain_url_before_looking_anything_up(url: str) -> None:
    async with local() as fetcher:
        with pytest.raises(FetchError, match=r"^Error fetching file from URL: ") as caught:
            await fetcher.fetch(url)
    assert "secret" not in str(caught.value) and len(str(caught.value)) < 400


# -- each once --------------------------------------------------------------------------------------------


async def slowly(request: Request, stream: SocketStream) -> None:
    await anyio.sleep(0.1)
    await stream.send(ok(b"abc") if request.target == "/good" else moved("ftp://x/"))


async def outcome(fetcher: Fetcher, url: str, into: list[object]) -> None:
    try:
        into.append((await fetcher.fetch(url))[0])
    except FetchError as error:
        into.append(str(error))


@pytest.mark.parametrize("target", ["good", "bad"])
async def test_downloads_a_held_url_once_for_all_who_ask(target: str) -> None:
    found: list[object] = []
    async with serving(slowly) as server, local() as fetcher:
        url = f"{server.url}/{target}"
        with fetcher.held([url, url]):
            with fetcher.held([url]):
                async with anyio.create_task_group() as tasks:
                    for _ in range(5):
                        tasks.start_soon(outcome, fetcher, url, found)
            await outcome(fetcher, url, found)
        assert (len(found), len(set(map(repr, found))), len(server.requests)) == (6, 1, 1)
        await outcome(fetcher, url, found)
    assert len(server.requests) == 2


async def test_who_waits_takes_over_from_who_gave_up() -> None:
    found: list[object] = []
    async with serving(slowly) as server, local() as fetcher:
        url = f"{server.url}/good"
        with fetcher.held([url]):
            async with anyio.create_task_group() as tasks:

                async def give_up() -> None:
                    with anyio.move_on_after(0.03):
                        await fetcher.fetch(url)

                tasks.start_soon(give_up)
                await anyio.sleep(0.01)
                tasks.start_soon(outcome, fetcher, url, found)
    assert found == [b"abc"]
