"""What every transport promises, asked against a real server on loopback that is as rude as real ones are.

Features for ``lacks``: proxy.
"""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter

import anyio
import pytest
from anyio.abc import SocketStream

from ..errors import Unreachable
from ..transport import Call, Transport
from .server import Request, Respond, Server, never, proxy_environment, reset, saying, serving
from .suite import Suite, needs, nothing_left_over

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
ENDLESS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class TransportConformance(Suite):
    """Subclass with ``build``; a transport for asyncio alone overrides the ``anyio_backend`` fixture as well."""

    def build(self) -> AbstractAsyncContextManager[Transport]:
        """The transport under test, not yet entered."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the transport under test")

    @asynccontextmanager
    async def against(self, respond: Respond) -> AsyncGenerator[tuple[Transport, Server], None]:
        """The transport, open, and a server that answers so."""
        with proxy_environment():
            async with serving(respond) as server, self.build() as transport:
                yield transport, server

    # -- plain answers ------------------------------------------------------------------------------------

    async def test_sends_what_it_is_given_and_reads_the_answer(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nX-Request-Id: AbC\r\ncontent-length: 5\r\n\r\nhello"
        async with self.against(saying(answer)) as (transport, server):
            call = Call(f"{server.url}/v1/x?a=b", b'{"q": "\xc3\xa9"}', {"authorization": "Bearer K", "X-Own": "1"})
            reply = await transport.send(call)
        assert (reply.status, reply.headers["x-request-id"], reply.body) == (200, "AbC", b"hello")
        request = server.requests[0]
        assert (request.method, request.target, request.body) == ("POST", "/v1/x?a=b", b'{"q": "\xc3\xa9"}')
        assert (request.headers["authorization"], request.headers["x-own"]) == ("Bearer K", "1")

    async def test_sends_other_methods_without_a_body(self) -> None:
        async with self.against(saying(HELLO)) as (transport, server):
            assert (await transport.send(Call(server.url, method="GET"))).body == b"hello"
        assert (server.requests[0].method, server.requests[0].body) == ("GET", b"")

    async def test_leaves_percent_encoding_alone(self) -> None:
        target = "/model/a%3Ab/c%2Fd%20e?x=1%2B2"
        async with self.against(saying(HELLO)) as (transport, server):
            await transport.send(Call(f"{server.url}{target}"))
        assert server.requests[0].target == target

    @pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
    async def test_any_status_is_an_answer(self, status: int) -> None:
        answer = b"HTTP/1.1 %d Whatever\r\ncontent-length: 3\r\n\r\nwhy" % status
        async with self.against(saying(answer)) as (transport, server):
            reply = await transport.send(Call(server.url))
            async with transport.stream(Call(server.url)) as streamed:
                assert (streamed.status, await streamed.read()) == (status, b"why")
        assert (reply.status, reply.body) == (status, b"why")

    async def test_follows_no_redirect(self) -> None:
        answer = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
        async with self.against(saying(answer)) as (transport, server):
            reply = await transport.send(Call(server.url))
        assert (reply.status, reply.headers["location"], len(server.requests)) == (307, "/elsewhere", 1)

    async def test_remembers_no_cookies(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b; Path=/\r\ncontent-length: 0\r\n\r\n"
        async with self.against(saying(answer)) as (transport, server):
            await transport.send(Call(server.url))
            await transport.send(Call(server.url))
        assert "cookie" not in server.requests[1].headers

    async def test_asks_for_plain_bytes_and_leaves_others_as_they_came(self) -> None:
        squeezed = gzip.compress(b"hello")
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(squeezed)
        async with self.against(saying(head + squeezed)) as (transport, server):
            assert (await transport.send(Call(server.url))).body == squeezed
        assert server.requests[0].headers["accept-encoding"] == "identity"

    async def test_carries_large_bodies_both_ways(self) -> None:
        large = bytes(range(256)) * 16_384
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(large)
        async with self.against(saying(head + large)) as (transport, server):
            assert (await transport.send(Call(server.url, large))).body == large
        assert server.requests[0].body == large

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nhello",
        ],
        ids=["chunked", "until-close"],
    )
    async def test_reads_bodies_without_a_length(self, answer: bytes) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(answer)
            await stream.aclose()

        async with self.against(respond) as (transport, server):
            assert (await transport.send(Call(server.url))).body == b"hello"

    # -- streams ------------------------------------------------------------------------------------------

    async def test_gives_pieces_as_they_arrive(self) -> None:
        seen = anyio.Event()

        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(ENDLESS + b"3\r\none\r\n")
            await seen.wait()
            await stream.send(b"3\r\ntwo\r\n0\r\n\r\n")

        parts: list[bytes] = []
        async with self.against(respond) as (transport, server), transport.stream(Call(server.url)) as reply:
            assert (reply.status, reply.headers["transfer-encoding"]) == (200, "chunked")
            with anyio.fail_after(5):
                async for part in reply.body:
                    parts.append(part)
                    seen.set()
        assert parts == [b"one", b"two"]

    async def test_leaving_a_stream_early_hangs_up(self) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(ENDLESS)
            while True:
                await stream.send(b"3\r\none\r\n")
                await anyio.sleep(0.01)

        async with self.against(respond) as (transport, server):
            with anyio.fail_after(5):
                async with transport.stream(Call(server.url)) as reply:
                    async for _ in reply.body:
                        break
                await _hung_up(server)

    async def test_leaving_a_stream_early_leaves_nothing_over(self) -> None:
        answer = ENDLESS + b"3\r\none\r\n" * 1000
        async with self.against(saying(answer)) as (transport, server):
            with nothing_left_over():
                async with transport.stream(Call(server.url)) as reply:
                    async for _ in reply.body:
                        break
                del reply

    # -- connections --------------------------------------------------------------------------------------

    async def test_uses_a_connection_again(self) -> None:
        async with self.against(saying(HELLO)) as (transport, server):
            for _ in range(3):
                await transport.send(Call(server.url))
                async with transport.stream(Call(server.url)) as reply:
                    assert b"".join([part async for part in reply.body]) == b"hello"
            assert server.connections == 1

    async def test_gets_over_a_connection_closed_while_idle(self) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(HELLO)
            await stream.aclose()

        async with self.against(respond) as (transport, server):
            for _ in range(3):
                assert (await transport.send(Call(server.url))).body == b"hello"
                await anyio.sleep(0.05)

    async def test_carries_fifty_calls_at_once(self) -> None:
        everyone = anyio.Event()

        async def respond(request: Request, stream: SocketStream) -> None:
            if len(server.requests) == 50:
                everyone.set()
            await everyone.wait()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(request.body), request.body))

        answers: dict[int, bytes] = {}

        async def ask(number: int) -> None:
            answers[number] = (await transport.send(Call(server.url, b"%d" % number))).body

        async with self.against(respond) as (transport, server):
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    for number in range(50):
                        tasks.start_soon(ask, number)
        assert answers == {number: b"%d" % number for number in range(50)}

    async def test_a_cancelled_call_hangs_up_and_harms_no_other(self) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await (never if request.target == "/never" else saying(HELLO))(request, stream)

        async with self.against(respond) as (transport, server):
            with anyio.move_on_after(0.1) as scope:
                await transport.send(Call(f"{server.url}/never"))
            assert scope.cancelled_caught
            with anyio.fail_after(5):
                await _hung_up(server)
                assert (await transport.send(Call(server.url))).body == b"hello"

    # -- no answer ----------------------------------------------------------------------------------------

    async def test_a_refused_connection_is_unreachable(self) -> None:
        async with self.against(never) as (transport, server):
            pass
        async with self.build() as transport:
            with pytest.raises(Unreachable):
                await transport.send(Call(server.url))
            with pytest.raises(Unreachable):
                async with transport.stream(Call(server.url)):
                    pass

    @pytest.mark.parametrize("url", ["http://no-such-host.invalid/", "http://", "nonsense"])
    async def test_an_address_that_leads_nowhere_is_unreachable(self, url: str) -> None:
        async with self.against(never) as (transport, _):
            with pytest.raises(Unreachable):
                await transport.send(Call(url))

    async def test_a_reset_is_unreachable(self) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await reset(stream)

        async with self.against(respond) as (transport, server):
            with pytest.raises(Unreachable):
                await transport.send(Call(server.url))

    async def test_something_that_is_not_http_is_unreachable(self) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await stream.aclose()

        async with self.against(respond) as (transport, server):
            with pytest.raises(Unreachable):
                await transport.send(Call(server.url))

    @pytest.mark.parametrize("rude", [True, False], ids=["reset", "closed"])
    async def test_a_body_cut_short_is_unreachable_after_what_came(self, rude: bool) -> None:
        seen = anyio.Event()

        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(ENDLESS + b"3\r\none\r\n")
            await seen.wait()
            await (reset(stream) if rude else stream.aclose())

        parts: list[bytes] = []
        async with self.against(respond) as (transport, server):
            with pytest.raises(Unreachable):
                async with transport.stream(Call(server.url)) as reply:
                    async for part in reply.body:
                        parts.append(part)
                        seen.set()
        assert parts == [b"one"]

    async def test_too_slow_an_answer_is_unreachable(self) -> None:
        async with self.against(never) as (transport, server):
            began = perf_counter()
            with pytest.raises(Unreachable):
                await transport.send(Call(server.url, timeout_s=0.1))
            assert perf_counter() - began < 5

    async def test_the_time_limit_is_on_waiting_not_on_the_whole(self) -> None:
        async def respond(request: Request, stream: SocketStream) -> None:
            await stream.send(ENDLESS)
            for _ in range(5):
                await anyio.sleep(0.2)
                await stream.send(b"3\r\none\r\n")
            await stream.receive()

        parts: list[bytes] = []
        async with self.against(respond) as (transport, server):
            with pytest.raises(Unreachable):
                async with transport.stream(Call(server.url, timeout_s=0.6)) as reply:
                    async for part in reply.body:
                        parts.append(part)
        assert b"".join(parts) == b"one" * 5

    # -- proxies ------------------------------------------------------------------------------------------

    @needs("proxy")
    async def test_goes_through_the_proxy_of_theproxies(self) -> None:
        async with serving(saying(HELLO)) as server:
            with proxy_environment(HTTP_PROXY=server.url):
                async with self.build() as transport:
                    assert (await transport.send(Call("http://upstream.invalid/v1/x"))).body == b"hello"
        assert server.requests[0].target == "http://upstream.invalid/v1/x"


async def _hung_up(server: Server) -> None:
    while server.open_connections:  # noqa: ASYNC110 - the server need not know that somebody waits
        await anyio.sleep(0.01)
