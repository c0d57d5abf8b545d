"""Connections of our own: what they send, what they refuse, and when they can be used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import anyio
import pytest
from anyio.abc import SocketStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headrace.conformance.server import Request, Server, proxy_environment, saying, serving
from headrace.errors import Unreachable
from headrace.transport import Call
from headrace_aiohttp import AiohttpTransport, Settings
from headrace_aiohttp.pool import Pool, tls_context
from headrace_aiohttp.requests import Origin, place_of, request

pytestmark = pytest.mark.anyio

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@pytest.fixture
def anyio_backend() -> str:
    """aiohttp runs on asyncio only."""
    return "asyncio"


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    with proxy_environment():
        async with AiohttpTransport(Settings()) as transport:
            yield transport


async def _hung_up(server: Server) -> None:
    with anyio.fail_after(5):
        while server.open_connections:  # noqa: ASYNC110 - the server need not know that somebody waits
            await anyio.sleep(0.01)


# -- what goes out --------------------------------------------------------------------------------------------


def sent(call: Call) -> bytes:
    place = place_of(call.url)
    assert place is not None
    return request(call, place)


@pytest.mark.parametrize(
    "headers",
    [
        *({"x": value} for value in ("a\r\nevil: 1", "a\nevil: 1", "a\rb", "\n\r", "a\0b", "\x7f")),
        *({name: "1"} for name in ("x\r\nevil", "x y", "x:", "", "ä")),
        {"host": "a\r\nevil: 1"},
    ],
)
def test_no_header_can_end_its_line(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        sent(Call("http://h/", b"{}", headers))


@pytest.mark.parametrize("url", ["http://h/a b", "http://h/a\r\nevil: 1", "http://h/ä", "http://h/\0"])
def test_no_url_can_end_the_first_line(url: str) -> None:
    # Either yarl or we refuse it, or it is handed to aiohttp, which encodes it.
    try:
        place = place_of(url)
    except ValueError:
        return
    assert place is None or b"\n" not in request(Call(url), place).split(b" HTTP/1.1\r\n")[0]


def test_how_a_message_is_framed_is_not_for_callers_to_say() -> None:
    smuggled = {
        "Transfer-Encoding": "chunked",
        "content-length": "0",
        "Connection": "close",
        "upgrade": "h2c",
        "X": "1",
    }
    head, _, body = sent(Call("http://h:81/p?q", b"{}", {**smuggled, "X": "1"})).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /p?q http/1.1"
    assert set(lines[1:]) >= {b"host: h:81", b"x: 1", b"content-length: 2"}
    assert not [line for line in lines if line.split(b":")[0] in (b"transfer-encoding", b"connection", b"upgrade")]
    assert body == b"{}"


def test_names_and_passwords_in_urls_are_left_to_aiohttp() -> None:
    assert place_of("http://user:secret@h/") is None


def test_an_address_in_brackets_keeps_them_in_its_host_header() -> None:
    place = place_of("http://[::1]:9/")
    assert place is not None
    assert (place.origin, place.host) == (Origin("http", "::1", 9), "[::1]:9")


# -- what comes in --------------------------------------------------------------------------------------------


async def test_interim_answers_are_passed_over(transport: AiohttpTransport) -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HELLO
    async with serving(saying(answer)) as server:
        for _ in range(2):
            reply = await transport.send(Call(server.url))
            assert (reply.status, reply.body, "link" in reply.headers) == (200, b"hello", False)
        assert server.connections == 1


async def test_a_connection_that_says_more_than_it_was_asked_is_not_used_again(transport: AiohttpTransport) -> None:
    async with serving(saying(HELLO + HELLO)) as server:
        for _ in range(2):
            assert (await transport.send(Call(server.url))).body == b"hello"
        assert server.connections == 2


async def test_what_comes_while_nobody_asks_ends_the_connection(transport: AiohttpTransport) -> None:
    said = anyio.Event()

    async def respond(request: Request, stream: SocketStream) -> None:
        await stream.send(HELLO)
        await anyio.sleep(0.05)
        if not said.is_set():
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
            said.set()

    async with serving(respond) as server:
        assert (await transport.send(Call(server.url))).body == b"hello"
        await said.wait()
        await _hung_up(server)
        assert (await transport.send(Call(server.url))).body == b"hello"


async def test_a_head_without_an_end_is_unreachable(transport: AiohttpTransport) -> None:
    async def respond(request: Request, stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send(b"x-more: " + b"a" * 8000 + b"\r\n")

    async with serving(respond) as server:
        with pytest.raises(Unreachable, match="exceeds"), anyio.fail_after(10):
            await transport.send(Call(server.url))


async def test_headers_of_one_name_are_joined(transport: AiohttpTransport) -> None:
    answer = b"HTTP/1.1 200 OK\r\nvia: a\r\nVia: b\r\ncontent-length: 0\r\n\r\n"
    async with serving(saying(answer)) as server:
        assert (await transport.send(Call(server.url))).headers["via"] == "a, b"


async def test_a_stream_nobody_reads_is_not_taken_into_memory(transport: AiohttpTransport) -> None:
    size = 64 * 2**20
    written = 0

    async def respond(request: Request, stream: SocketStream) -> None:
        nonlocal written
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while written < size:
            await stream.send(b"x" * 2**16)
            written += 2**16

    async with serving(respond) as server, transport.stream(Call(server.url)) as reply:
        async for part in reply.body:
            first = len(part)
            break
        await anyio.sleep(0.3)
        assert written < size // 2  # what sockets hold, and a little of ours
        assert first + len(await reply.read()) == size


async def test_an_idle_connection_is_closed_when_its_time_is_over() -> None:
    async with serving(saying(HELLO)) as server:
        with proxy_environment():
            async with AiohttpTransport(Settings(keepalive_s=0.1)) as transport:
                await transport.send(Call(server.url))
                await _hung_up(server)


async def test_a_short_wait_is_not_lengthened_by_a_longer_one_before(transport: AiohttpTransport) -> None:
    async def respond(request: Request, stream: SocketStream) -> None:
        if request.target == "/slow":
            await anyio.sleep_forever()
        await stream.send(HELLO)

    async with serving(respond) as server:
        await transport.send(Call(server.url, timeout_s=60))
        began = perf_counter()
        with pytest.raises(Unreachable, match="nothing has come for"):
            await transport.send(Call(f"{server.url}/slow", timeout_s=0.1))
        assert perf_counter() - began < 5


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of ``localhost``, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


async def test_a_new_connection_resumes_the_tls_session_of_the_last(certificate: Path) -> None:
    resumed: list[bool] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=theirs)
    async with server:
        ours = tls_context()
        ours.load_verify_locations(certificate)
        pool = Pool(60, 60, ours)
        origin = Origin("https", "localhost", server.sockets[0].getsockname()[1])
        for _ in range(3):
            connection = await pool.connect(origin, 5)
            await connection.ask(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", 5, whole=True)
            assert (connection.status, await connection.read()) == (200, b"ok")
            pool.give_back(origin, connection)
        pool.close()
    assert resumed == [False, True, True]


async def test_a_certificate_that_nobody_vouches_for_is_unreachable(certificate: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=theirs)
    async with server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        with proxy_environment():
            async with AiohttpTransport(Settings()) as transport:
                with pytest.raises(Unreachable, match="certificate"):
                    await transport.send(Call(url))
