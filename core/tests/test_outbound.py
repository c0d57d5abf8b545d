"""What plugins call goes out unchanged and is timed, and what comes back of secrets in errors is not shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from headrace.errors import Unreachable
from headrace.incoming import Incoming, covered_s, enter, leave
from headrace.outbound import Outbound
from headrace.transport import Call, Reply

pytestmark = pytest.mark.anyio

KEY = "sk-1234567890"
CALL = Call(
    "http://me:hidden-word@up/v1?api_key=query-word-1",
    b"{}",
    {"Authorization": f"Bearer {KEY}", "x-goog-api-key": "other-word-2", "content-type": "application/json"},
)
ECHO = f"you are {KEY}, other-word-2, hidden-word, query-word-1, application/json".encode()
CLEAN = b"you are [redacted], [redacted], [redacted], [redacted], application/json"


class Upstream:
    """A transport that answers one thing, or fails."""

    def __init__(self, status: int = 200, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.headers: dict[str, str] = {"x-echo": KEY}
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return Reply(self.status, self.headers, ECHO)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Any]:
        self.calls.append(call)
        if self.error is not None and self.status == 0:
            raise self.error
        yield self

    async def read(self) -> bytes:
        return ECHO

    @property
    async def body(self) -> AsyncIterator[bytes]:
        yield ECHO[:10]
        if self.error is not None:
            raise self.error
        yield ECHO[10:]


async def test_an_answer_is_what_it_is() -> None:
    upstream = Upstream()
    assert await Outbound(upstream).send(CALL) == Reply(200, {"x-echo": KEY}, ECHO)
    async with Outbound(upstream).stream(CALL) as reply:
        assert b"".join([part async for part in reply.body]) == ECHO
    assert upstream.calls == [CALL, CALL]


@pytest.mark.parametrize("status", [302, 401, 500])
async def test_a_refusal_shows_no_secret_of_the_call(status: int) -> None:
    outbound = Outbound(Upstream(status))
    assert await outbound.send(CALL) == Reply(status, {"x-echo": "[redacted]"}, CLEAN)
    async with outbound.stream(CALL) as reply:
        assert (reply.status, reply.headers, await reply.read()) == (status, {"x-echo": "[redacted]"}, CLEAN)
    async with outbound.stream(CALL) as reply:
        assert [part async for part in reply.body] == [CLEAN]


async def test_no_answer_is_told_without_the_secrets_of_the_call() -> None:
    error = Unreachable(f"no answer from {CALL.url}: bad header {KEY}")
    with pytest.raises(Unreachable) as raised:
        await Outbound(Upstream(error=error)).send(CALL)
    assert "no answer from http://[redacted]up/v1?api_key=[redacted]: bad header [redacted]" in str(raised.value)
    assert KEY not in repr(raised.value)


@pytest.mark.parametrize("status", [0, 200], ids=["before", "midway"])
async def test_a_torn_stream_is_told_without_the_secrets_of_the_call(status: int) -> None:
    outbound = Outbound(Upstream(status, Unreachable(f"torn: {CALL.url}")))
    with pytest.raises(Unreachable, match=r"torn: http://\[redacted\]up/"):
        async with outbound.stream(CALL) as reply:
            async for _ in reply.body:
                pass


async def test_calls_are_timed_where_they_are_made_for_a_request() -> None:
    incoming = Incoming({})
    outbound = Outbound(Upstream())
    await outbound.send(CALL)
    token = enter(incoming)
    await outbound.send(CALL)
    async with outbound.stream(CALL):
        assert len(incoming.waits) == 1
    leave(token)
    assert len(incoming.waits) == 2
    assert all(began <= ended for began, ended in incoming.waits)


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [
        ([], 0),
        ([(1, 3)], 2),
        ([(5, 6), (1, 3)], 3),
        ([(1, 4), (2, 3)], 3),
        ([(1, 3), (2, 5), (5, 6)], 5),
        ([(1, 2), (1, 2)], 1),
    ],
    ids=["none", "one", "apart", "within", "overlapping", "equal"],
)
def test_what_overlaps_counts_once(intervals: list[tuple[float, float]], seconds: float) -> None:
    assert covered_s(intervals) == seconds
