"""Secrets, planted wherever one goes in, are looked for wherever something comes out of a running gateway."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector import http_collector
from headrace.authentication import make_key
from headrace_sqlite import Settings, Sqlite
from served import HEADRACE, Serve

GATEWAY_KEY, GATEWAY_KEY_ROW = make_key(datetime.now(UTC))
# A key of the right form that nobody has; a wrong one of another form.
UNKNOWN_KEY, _ = make_key(datetime.now(UTC))

SECRETS = {
    "a static key": "sk-canary-static-3141592653",
    "a dynamic key": "canary-dynamic-2718281828",
    "a gateway key": GATEWAY_KEY.rpartition("-")[2],
    "an unknown gateway key": UNKNOWN_KEY.rpartition("-")[2],
    "a garbled authorization": "canary-garbled-1414213562",
    "an extra header": "canary-extra-1732050807",
    "the password of a proxy": "canary-proxy-2236067977",
    "a password in a base URL": "canary-base-2449489742",
    "a key of another service": "canary-other-2645751311",
}
PROMPT = "canary-prompt-1123581321"

TOML = """
[gateway]
debug = {debug}
observability.backend = "sqlite"
auth = {{ enabled = true }}
export.otlp.traces = {{ enabled = true }}
unstable_error_json = true

[sqlite]
path = "records.db"

[models.static]
routing = ["up"]
providers.up = {{ type = "openai", model_name = "m", api_base = "{upstream}/", api_key_location = "env::CANARY_KEY" }}

[models.dynamic]
routing = ["up"]
providers.up = {{ type = "openai", model_name = "m", api_base = "{upstream}/", api_key_location = "dynamic::mine" }}

[models.late]
routing = ["up"]
timeouts = {{ non_streaming.total_ms = 100, streaming.ttft_ms = 100 }}
[models.late.providers.up]
type = "openai"
model_name = "late"
api_base = "{upstream}/"
api_key_location = "env::CANARY_KEY"

[models.beyond]
routing = ["up"]
[models.beyond.providers.up]
type = "openai"
model_name = "m"
api_base = "https://nowhere.invalid/v1/"
api_key_location = "env::CANARY_KEY"

[models.named]
routing = ["up"]
providers.up = {{ type = "openai", model_name = "m", api_base = "{named}/", api_key_location = "none" }}
"""

GOOD = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@contextmanager
def blabbing() -> Iterator[str]:
    """An upstream that says back every header that it got, where the prompt asks it to fail."""
    over = threading.Event()

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            heard = "; ".join(f"{name}: {value}" for name, value in self.headers.items())
            if '"late"' in asked:
                over.wait(30)
            if "please refuse" in asked:
                self.answer(401, "application/json", json.dumps({"error": {"message": f"bad key: {heard}"}}))
            elif "please break" in asked:
                self.answer(500, "text/plain", heard)
            elif "please babble" in asked:
                self.answer(200, "application/json", "{")
            elif '"stream":true' in asked:
                piece = {**GOOD, "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
                self.answer(200, "text/event-stream", f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n")
            else:
                self.answer(200, "application/json", json.dumps(GOOD))

        def answer(self, status: int, type_: str, text: str) -> None:
            try:
                self.send_response(status)
                self.send_header("content-type", type_)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:  # the one that came too late
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def ask(model: str, wish: str = "", **more: Any) -> dict[str, Any]:
    content = f"{PROMPT} {wish}"
    return {"model_name": model, "input": {"messages": [{"role": "user", "content": content}]}, **more}


def found(text: str, *names: str) -> list[str]:
    """Which secrets are in there, but for these."""
    return [name for name, secret in SECRETS.items() if secret in text and name not in names]


def stored(folder: Path) -> str:
    """All of the database as it lies there."""
    return "".join(path.read_bytes().decode("latin-1") for path in folder.glob("records.db*"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with Sqlite(Settings(path=tmp_path / "records.db")) as store:
            await store.write([GATEWAY_KEY_ROW])

    asyncio.run(fill())
    return tmp_path


@pytest.mark.parametrize("debug", [False, True], ids=["info", "debug"])
@pytest.mark.parametrize("format_", ["json", "pretty"])
def test_no_secret_comes_out_again(serve: Serve, store: Path, *, debug: bool, format_: str) -> None:
    with blabbing() as upstream, http_collector() as collected:
        toml = TOML.format(
            debug=json.dumps(debug),
            upstream=upstream,
            named=upstream.replace("//", f"//me:{SECRETS['a password in a base URL']}@"),
        )
        environment = {
            "CANARY_KEY": SECRETS["a static key"],
            "OTHER_SERVICE_TOKEN": SECRETS["a key of another service"],
            "https_proxy": f"http://me:{SECRETS['the password of a proxy']}@127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collected.url,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        }
        with serve(toml, "--log-format", format_, **environment) as served:
            said = exchanges(served.url)
            metrics = said.pop("metrics")
            assert served.stop() == 0
        log = served.log.read_text()
        shown = json.dumps([[span.attributes, span.message, span.events] for span in collected.spans])
    assert collected.spans
    assert "bad key" in log, "the upstream's error is told"
    assert {name: found(text) for name, text in said.items() if found(text)} == {}
    assert found(log) == []
    assert found(metrics) == []
    assert found(shown) == []
    # The configuration is in the store as it was written: what is in there is no secret to who reads it.
    assert found(stored(store), "a password in a base URL") == []
    assert PROMPT not in metrics
    assert debug or PROMPT not in log + shown  # debug puts what was asked into the text of errors


def exchanges(url: str) -> dict[str, str]:
    """Successes and every kind of failure; what was answered, by what was asked."""
    said: dict[str, str] = {}
    extra = [{"name": "x-api-key", "value": SECRETS["an extra header"]}]
    mine = {"mine": SECRETS["a dynamic key"]}
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {GATEWAY_KEY}"}, timeout=30) as http:

        def post(name: str, body: Any, path: str = "/inference", **headers: str) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = http.post(path, content=content, headers=headers)
            said[name] = f"{answer.status_code} {answer.headers} {answer.text}"

        for stream in (False, True):
            for wish in ("", "please refuse", "please break", "please babble"):
                post(f"static {wish} {stream}", ask("static", wish, stream=stream, extra_headers=extra))
                raw = {"include_raw_response": True, "credentials": mine}
                post(f"dynamic {wish} {stream}", ask("dynamic", wish, stream=stream, **raw))
            for model in ("late", "beyond", "named"):
                post(f"{model} {stream}", ask(model, "please refuse", stream=stream))
        assert said["static  False"].startswith("200 ")
        assert "[redacted]" in said["static please refuse False"]
        openai = {"model": "tensorzero::model_name::static", "messages": [{"role": "user", "content": "please refuse"}]}
        post("openai", openai, "/openai/v1/chat/completions")
        post("no credential", ask("dynamic"))
        post("bad JSON", f'{{"model_name": "{PROMPT}", "credentials": {json.dumps(mine)}'.encode())
        post("bad credentials", ask("static", credentials=SECRETS["a dynamic key"]))
        post("bad field", ask("static", api_keys=mine))
        post("bad header", ask("static", extra_headers=[{"nome": "x", "value": SECRETS["an extra header"]}]))
        post("unknown key", ask("static"), authorization=f"Bearer {UNKNOWN_KEY}")
        post("garbled key", ask("static"), authorization=f"Bearer {SECRETS['a garbled authorization']}")
        post("basic", ask("static"), authorization=f"Basic {SECRETS['a garbled authorization']}")
        said["metrics"] = http.get("/metrics").text
    return said


@pytest.mark.parametrize(
    ("toml", "environment"),
    [
        ('gateway.observability.backend = "postgres"', {"TENSORZERO_POSTGRES_URL": "postgresql://me:{}@127.0.0.1:9/x"}),
        (
            'gateway.observability.backend = "clickhouse"',
            {"TENSORZERO_CLICKHOUSE_URL": "http://me:{}@127.0.0.1:9/x"},
        ),
        (
            'gateway.observability.backend = "postgres"',
            {"TENSORZERO_POSTGRES_URL": "postgresql://me:{}@h/x", "HEADRACE_POSTGRES_URL": "postgresql://me:{}2@h/x"},
        ),
        ('gateway.observability.backend = "postgres"', {"TENSORZERO_POSTGRES_URL": "postgresql://me:{}@[h/x"}),
        (
            'gateway.observability.backend = "none"\n[rate_limiting]\nenabled = true\nbackend = "valkey"\n'
            "[[rate_limiting.rules]]\nalways = true\nmodel_inferences_per_minute = 1\n"
            'scope = [{ tag_key = "x", tag_value = "tensorzero::each" }]',
            {"TENSORZERO_VALKEY_URL": "redis://me:{}@127.0.0.1:9/0"},
        ),
        (
            '[gateway.observability]\nbackend = "memory"\n[models.m]\nrouting = ["p"]\n'
            'providers.p = { type = "openai", model_name = "m", api_key_location = "env::{}" }',
            {},
        ),
    ],
    ids=["postgres", "clickhouse", "two-names", "no-url", "valkey", "not-a-key"],
)
def test_what_keeps_a_gateway_from_starting_is_told_without_secrets(
    tmp_path: Path, toml: str, environment: dict[str, str]
) -> None:
    canary = "canary-database-1618033988"
    (tmp_path / "x.toml").write_text(toml)
    done = subprocess.run(
        [HEADRACE, "serve", "--config", "x.toml", "--bind-address", "127.0.0.1:0"],
        cwd=tmp_path,
        env=os.environ | {name: value.replace("{}", canary) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr
    assert canary not in done.stdout + done.stderr


def test_lines_of_a_request_have_its_id_and_every_line_is_an_object(serve: Serve, store: Path) -> None:
    with blabbing() as upstream, http_collector() as collected:
        toml = TOML.format(debug="true", upstream=upstream, named=upstream)
        environment = {
            "CANARY_KEY": SECRETS["a static key"],
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collected.url,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        }
        with serve(toml, "--log-format", "json", **environment) as served:
            headers = {"authorization": f"Bearer {GATEWAY_KEY}"}
            httpx.post(f"{served.url}/inference", json=ask("static", "please break"), headers=headers, timeout=30)
            assert served.stop() == 0
        lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert all({"timestamp", "level", "target", "message"} <= line.keys() for line in lines)
    of_request = [line for line in lines if line.get("uri") == "/inference"]
    assert len({line["request_id"] for line in of_request}) == 1
    told = [line["message"].partition(":")[0] for line in of_request]
    assert told[0] == "started processing request"
    assert "model static, provider up failed" in told
    (end,) = [line for line in of_request if line["message"] == "finished processing request"]
    assert (end["status"], end["success"], end["level"]) == (502, False, "DEBUG")
    (root,) = [span for span in collected.spans if span.kind == "SERVER"]
    (failed,) = [line for line in of_request if line["message"].startswith("model static")]
    assert failed["trace_id"] == root.trace
