"""Web servers that stand behind a gateway: pages to fetch, and a model that calls two tools at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Two models behind `upstream`, to be formatted with its address.
CALLING = """
[models.calling]
routing = ["openai"]
[models.calling.providers.openai]
type = "openai"
model_name = "any"
api_base = "{url}/plain"
api_key_location = "none"

[models.calling-streamed]
routing = ["openai"]
[models.calling-streamed.providers.openai]
type = "openai"
model_name = "any"
api_base = "{url}/streamed"
api_key_location = "none"
"""


@contextmanager
def web(pages: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    """A web server of these pages, type and text by path, whatever the method; gives its address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            type_, text = pages[self.path]
            self.send_response(200)
            self.send_header("content-type", type_)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _calls(name: str, *calls: tuple[int, str | None, str]) -> dict[str, Any]:
    made = [
        {
            "index": index,
            "id": id_,
            "type": "function",
            "function": {"name": id_ and "get_temperature", "arguments": text},
        }
        for index, id_, text in calls
    ]
    return {"index": 0, name: {"role": "assistant", "content": None, "tool_calls": made}, "finish_reason": None}


@contextmanager
def upstream() -> Iterator[str]:
    """An OpenAI-compatible server that calls two tools at once, at `/plain` and, piece by piece, at `/streamed`."""
    whole = _calls("message", (0, "call_1", '{"location": "Basel"}'), (1, "call_2", '{"location": "Bern"}'))
    pieces = [
        _calls("delta", (0, "call_1", ""), (1, "call_2", '{"location"')),
        _calls("delta", (0, None, '{"location": "B')),
        _calls("delta", (1, None, ': "Bern"}'), (0, None, 'asel"}')),
        {"index": 0, "delta": {}, "finish_reason": "tool_calls"},
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    events = [{"choices": [piece]} for piece in pieces] + [{"choices": [], "usage": usage}]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    plain = json.dumps({"choices": [whole | {"finish_reason": "tool_calls"}], "usage": usage})
    with web(
        {
            "/plain/chat/completions": ("application/json", plain.encode()),
            "/streamed/chat/completions": ("text/event-stream", stream.encode()),
        }
    ) as url:
        yield url
