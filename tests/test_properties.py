"""No body, however wrong, gets more than a specified error: bodies of our OpenAPI document, and broken good ones."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from good_bodies import GOOD, ID, SCHEMA
from headrace import plugins
from headrace.assembly import assemble
from headrace.config import load
from headrace.conformance.script import Script
from headrace.http.app import create_app
from headrace.http.openapi import document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

# Nearly the same cases every time, whatever `HYPOTHESIS_PROFILE` says: only the constants that hypothesis finds in the
# modules that happen to be loaded differ.
EXAMPLES = settings(
    max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
HERE = "http://gateway"
ANSWER_WITHIN_S = 10  # the longest one takes some 50 ms: this tells a hang, not a slow machine

TOML = """
[gateway]
unstable_disable_feedback_target_validation = true
observability.backend = "memory"
[object_storage]
type = "filesystem"
path = "{folder}"

[models.echo]
routing = ["echo"]
providers.echo = {{ type = "echo" }}
[models.dummy]
routing = ["dummy"]
providers.dummy = {{ type = "dummy", model_name = "good" }}
[embedding_models.vectors]
routing = ["echo"]
providers.echo = {{ type = "echo" }}

[functions.chat]
type = "chat"
tools = ["look"]
variants.v = {{ type = "chat_completion", model = "echo" }}
variants.w = {{ type = "chat_completion", model = "dummy" }}
[functions.json]
type = "json"
variants.v = {{ type = "chat_completion", model = "echo", json_mode = "on" }}

[tools.look]
description = "Looks"
parameters = "tool.json"
[metrics.good]
type = "boolean"
level = "inference"
optimize = "max"
[metrics.far]
type = "float"
level = "episode"
optimize = "min"
"""

Ask = Callable[..., httpx.Response]


class Mistakes(logging.Handler):
    """What has been logged as a mistake of ours since it was last looked at."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "headrace.http.watching":  # which says no more than the answer's status, also an upstream's
            self.seen.append(logging.Formatter().format(record))

    def none(self) -> None:
        seen, self.seen = self.seen, []
        assert seen == []


@asynccontextmanager
async def client(folder: Path) -> AsyncGenerator[httpx.AsyncClient, None]:
    (folder / "tool.json").write_text(json.dumps(SCHEMA))
    config = folder / "headrace.toml"
    config.write_text(TOML.format(folder=folder))
    gateway = assemble(load(str(config)), plugins.load(), transport=Script())
    async with gateway:
        transport = httpx.ASGITransport(create_app(gateway, owns_gateway=False), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as http:
            yield http


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """``ask(method, url, content=...)``, checked for what every reply promises."""
    mistakes = Mistakes()
    logging.getLogger("headrace").addHandler(mistakes)
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(client(tmp_path_factory.mktemp("files"))) as http:

            async def within(method: str, url: str, **more: Any) -> httpx.Response:
                with anyio.fail_after(ANSWER_WITHIN_S):
                    return await http.request(method, url, **more)

            def checked(method: str, url: str, **more: Any) -> httpx.Response:
                reply = portal.call(partial(within, method, url, **more))
                mistakes.none()
                check(url, reply)
                return reply

            yield checked
    logging.getLogger("headrace").removeHandler(mistakes)


# What a healthy gateway may answer although the mistake is not the caller's (http-api 4.2 and 4.3).
SPECIFIED = {
    500: ("Error fetching file from URL", "Object storage", "Error rendering template", "All model providers failed"),
    501: ("",),
    502: ("All variants failed with errors:",),
}


def check(url: str, reply: httpx.Response) -> None:
    """Only specified statuses, and errors in their surface's own shape."""
    if reply.status_code < 400 or reply.status_code == 405:
        return
    if reply.headers["content-type"].startswith("text/plain"):
        assert reply.status_code == 400
        return
    told = message(url, reply.json())
    assert told and "Internal error" not in told
    if reply.status_code >= 500:
        assert told.startswith(SPECIFIED.get(reply.status_code, ())), (reply.status_code, told)


def message(url: str, body: dict[str, Any]) -> str:
    """The text of an error, which is where its surface has it, and nothing else is there that should not be."""
    if not url.startswith(("/openai", "/anthropic")):
        assert set(body) <= {"error", "raw_response"}
        assert isinstance(body["error"], str)
        return body["error"]
    fields = {"message"}
    if url.startswith("/anthropic"):
        assert body["type"] == "error"
        fields = {"message", "type"}
    elif url.startswith("/openai/v1/responses"):
        fields = {"message", "type", "param", "code"}
    assert set(body["error"]) == fields
    return str(body["error"]["message"])


# -- broken good bodies -----------------------------------------------------------------------------------


class Raw(str):
    """A piece of JSON text as it is, right or wrong."""


def text_of(value: Any) -> str:
    """JSON, with raw pieces in it."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{text_of(each)}" for key, each in value.members) + "}"
    if isinstance(value, dict):
        return text_of(Pairs(value.items()))
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    return json.dumps(value)


class Pairs:
    """An object that may repeat its keys."""

    def __init__(self, members: Iterable[tuple[str, Any]]) -> None:
        self.members = list(members)


NUMBERS = "NaN Infinity -Infinity 1e400 -1e400 1e-400 -0 01 0x1 1. 'a' tru // 18446744073709551616".split()
STRINGS = [r'"\ud800"', r'"\udfff\ud800"', r'"\u0000"', '"\x01"', r'"\x"', "", '"\udcff"', '"\udc80\udcc0"']
STRANGE: list[Any] = [
    *(None, True, 0, -1, 1, 0.5, "", "x", [], {}, [[]], {"a": {}}, [None], 2**31, 2**32, 2**63, 2**64, -(2**63) - 1),
    *map(Raw, (*NUMBERS, "1" * 4000, *STRINGS)),
    *(Raw("[" * depth + "]" * depth) for depth in (60, 127, 128, 1000, 100_000)),
    *(Raw('{"a":' * depth + "1" + "}" * depth) for depth in (60, 128, 20_000)),
    *("x" * 100_000, "\u202e\U0001f600" * 99, "../" * 20 + "etc/passwd", "tensorzero::x", "headrace::x", "\r\nx: y"),
    *({"type": "text", "text": "x"}, {"type": "nonsense"}, {"$ref": "#"}, ID, str(UUID(int=0)), "{{ 7*7 }}"),
]
NAMES = ["", "type", "\x00", "tensorzero::x", "__proto__", "\ud800", "x" * 9999, "headrace::tags", "$ref", "name"]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *chain.from_iterable(places(each, (*at, key)) for key, each in inner)]


def broken(body: Any, at: tuple[Any, ...], how: str, what: Any, name: str) -> Any:
    """A copy with one thing wrong at a place."""
    if not at:
        return _changed(body, how, what, name)
    copied = copy.copy(body)
    if len(at) == 1 and how == "drop":
        del copied[at[0]]
    else:
        copied[at[0]] = broken(body[at[0]], at[1:], how, what, name)
    return copied


def _changed(value: Any, how: str, what: Any, name: str) -> Any:
    if how == "wrap":
        return [value]
    if isinstance(value, dict) and how == "add":
        return {**value, name: what}
    if isinstance(value, dict) and how == "repeat" and value:
        return Pairs([*value.items(), (next(iter(value)), what)])
    if isinstance(value, list) and how in ("add", "repeat"):
        return value * 200 if how == "repeat" else [*value, what]
    return what


@st.composite
def mutants(draw: Any, good: Any) -> bytes:
    """The JSON text of a body with one to three things wrong."""
    body = good
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(places(body)))
        how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add", "wrap", "repeat"]))
        body = broken(body, at, how, draw(st.sampled_from(STRANGE)), draw(st.sampled_from(NAMES)))
    text = text_of(body).encode("utf-8", "surrogateescape")
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 19)) == 0 else text


EACH_GOOD = pytest.mark.parametrize(
    ("url", "good"), GOOD, ids=[f"{index}{url.replace('/', '-')}" for index, (url, _) in enumerate(GOOD)]
)


@EACH_GOOD
def test_a_good_body_works(ask: Ask, url: str, good: dict[str, Any]) -> None:
    reply = ask("POST", url, content=text_of(good))
    assert reply.status_code == 200, reply.text
    assert '"error"' not in reply.text.replace('"error":null', "")


@EACH_GOOD
def test_a_broken_body_gets_a_specified_answer(ask: Ask, url: str, good: dict[str, Any]) -> None:
    @EXAMPLES
    @given(mutants(good))
    def run(content: bytes) -> None:
        ask("POST", url, content=content)

    run()


# -- bodies of the document -------------------------------------------------------------------------------

NAMED = {
    "function_name": ["chat", "json", "nobody"],
    "model_name": ["echo", "nothing"],
    "variant_name": ["v", "nobody"],
    "metric_name": ["good", "far", "comment", "nothing"],
    "model": [
        *(f"tensorzero::function_name::{name}" for name in ("chat", "json", "nobody")),
        *(f"tensorzero::{name}" for name in ("model_name::echo", "embedding_model_name::vectors", "nothing")),
    ],
}


def aimed() -> dict[str, Any]:
    """Our document, with names of the configuration where a name by chance would be of nothing."""
    told: dict[str, Any] = json.loads(json.dumps(document()))
    for body, schema in told["components"]["schemas"].items():
        for name, of in schema.get("properties", {}).items() if body.endswith("Body") else ():
            known = NAMED.get(name.removeprefix("tensorzero::"))
            if known is not None and name not in schema.get("required", ()):
                of.clear()
                of.update(enum=[*known, None])
            elif known is not None and "const" not in of:
                of.clear()
                of.update(enum=known)
    return told


SCHEMATHESIS = schemathesis.openapi.from_dict(aimed())
CHECKS: Any = [content_type_conformance, status_code_conformance, response_schema_conformance]
OPERATIONS = [result.ok() for result in SCHEMATHESIS.get_all_operations() if isinstance(result, Ok)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_a_body_of_the_document_gets_an_answer_of_the_document(ask: Ask, operation: Any) -> None:
    @EXAMPLES
    @given(operation.as_strategy())
    def run(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=HERE)
        del sent["cookies"]  # no route has any, and httpx warns of them
        reply = ask(sent.pop("method"), sent.pop("url").removeprefix(HERE), **sent)
        case.validate_response(reply, checks=CHECKS)

    run()
