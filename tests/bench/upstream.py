"""A cheap upstream that speaks OpenAI's dialect, for load: the answer is fixed, the path says how it is given.

    python tests/bench/upstream.py          prints ``listening on PORT``, and runs until it is killed

In the path before ``/v1`` may stand ``/d50`` (begin after 50 ms), ``/e500`` (answer with that status) and ``/cut``
(break off in the middle of a stream). A stream's events go out in one write, each in an HTTP chunk of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import httptools
import uvloop

WORDS = 16
_ABOUT = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "mock"}
_USAGE = {"prompt_tokens": 24, "completion_tokens": WORDS, "total_tokens": 24 + WORDS}
_TEXT = "".join(f"word{n} " for n in range(WORDS))


def _choice(**more: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "logprobs": None, "finish_reason": None, **more}]


def _events() -> list[bytes]:
    """A stream: the role, a word each, why it ended, what it cost."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": f"word{n} "} for n in range(WORDS))]
    bodies: list[dict[str, Any]] = [{"choices": _choice(delta=delta)} for delta in deltas]
    bodies += [{"choices": _choice(delta={}, finish_reason="stop")}, {"choices": [], "usage": _USAGE}]
    told = [json.dumps({**_ABOUT, "object": "chat.completion.chunk", **body}) for body in bodies]
    return [f"data: {each}\n\n".encode() for each in (*told, "[DONE]")]


def _plain(status: int, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


_message = {"role": "assistant", "content": _TEXT, "refusal": None}
CHAT = _plain(
    200,
    {
        **_ABOUT,
        "object": "chat.completion",
        "choices": _choice(message=_message, finish_reason="stop"),
        "usage": _USAGE,
    },
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = _events()
_CHUNKS = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS]
STREAM = _HEAD + b"".join(_CHUNKS) + b"0\r\n\r\n"
CUT = _HEAD + b"".join(_CHUNKS[:5])


@dataclass(frozen=True)
class Manner:
    """How requests to a path are answered."""

    delay_s: float
    refusal: bytes | None
    is_cut: bool


@lru_cache
def manner(path: bytes) -> Manner:
    """What a path asks for."""
    delay, status = re.search(rb"/d(\d+)/", path), re.search(rb"/e(\d+)/", path)
    refusal = _plain(int(status[1]), {"error": {"message": "as it was asked", "type": "bench"}}) if status else None
    return Manner(int(delay[1]) / 1000 if delay else 0, refusal, b"/cut/" in path)


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        how = manner(self._path)
        is_stream = b'"stream":true' in self._body or b'"stream": true' in self._body
        if how.delay_s:
            asyncio.get_running_loop().call_later(how.delay_s, self._answer, how, is_stream)
        else:
            self._answer(how, is_stream)

    def _answer(self, how: Manner, is_stream: bool) -> None:
        if how.refusal:
            self._transport.write(how.refusal)
        elif is_stream and how.is_cut:
            self._transport.write(CUT)
            self._transport.close()
        else:
            self._transport.write(STREAM if is_stream else CHAT)


async def main() -> None:
    """Listen on a free port of this machine."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201 - whoever started it reads it
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
