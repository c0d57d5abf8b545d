"""A running gateway under attack: every answer is specified, the next caller is served at once, no memory is lost."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from attacks import HELLO, MIB, NORMAL_S, TOML, Target, raw, said, trap


@pytest.fixture(scope="module")
def served(serve_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway that bears all attacks, one after the other."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    serve = serve_in(tmp_path_factory.mktemp("hostile"))
    with trap() as port, serve(TOML.format(upstream=f"http://127.0.0.1:{port}")) as served:
        yield served


@pytest.fixture
def target(served: Any) -> Iterator[Target]:
    target = Target(served)
    with closing(target.http):
        yield target


# -- bytes ------------------------------------------------------------------------------------------------


POST = b"POST /inference HTTP/1.1\r\nhost: x\r\n"


def test_a_body_that_is_too_large_is_refused_and_not_kept(target: Target) -> None:
    size = 100 * MIB + 1
    with target.attacked("content-length"):
        reply = target.http.post(
            "/inference", content=(b" " * MIB for _ in range(101)), headers={"content-length": str(101 * MIB)}
        )
        assert (reply.status_code, reply.json()["error"][:3]) == (400, "413")
    with target.attacked("in chunks, without an end"):
        part = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
        told = raw(target.url, POST + b"transfer-encoding: chunked\r\n\r\n", *(part for _ in range(300)))
        assert told in (b"",) or b" 400 " in told.partition(b"\r\n")[0]
    # The body once in pieces, once whole, and a third time while pieces become the whole.
    assert target.memory_mib("VmHWM") < 3 * size / MIB + 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_small_body_does_not_become_a_large_one(target: Target, coding: str) -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = b"".join([*(machine.compress(b" " * MIB) for _ in range(300)), machine.flush()])
    assert len(bomb) < MIB
    with target.attacked(coding):
        reply = target.post("/inference", bomb, **{"content-encoding": coding})
        assert (reply.status_code, reply.json()["error"][:3]) == (400, "413")
    with target.attacked("a bomb in a bomb"):
        reply = target.post("/inference", gzip.compress(bomb), **{"content-encoding": f"{coding}, gzip"})
        assert (reply.status_code, reply.json()["error"][:3]) == (400, "415")
    with target.attacked("cut short"):
        assert target.post("/inference", bomb[:1000], **{"content-encoding": coding}).status_code == 400


BROKEN = [
    [POST + b"content-length: 1000\r\n\r\n{"],
    [POST + b"transfer-encoding: chunked\r\n\r\n5\r\n{"],
    [POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"],
    [POST + b"content-length: -1\r\n\r\n"],
    [POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}"],
    [POST + b"content-length: 99999999999999999999\r\n\r\n{"],
    [POST + b"x: " + b"y" * MIB],
    [POST + b"x\r\n\r\n"],
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    [b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
    [b"GET /status\x00 HTTP/1.1\r\nhost: x\r\n\r\n"],
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 1000],
]


def test_a_broken_request_breaks_nothing_else(target: Target) -> None:
    for sent in BROKEN:
        with target.attacked(sent[0][:100]):
            told = raw(target.url, *sent, shut=True, timeout=8)
            assert not told.startswith(b"HTTP/1.1 5"), sent


def test_slow_callers_keep_nobody_else_waiting(target: Target) -> None:
    parts = urlsplit(target.url)
    wires = []
    for beginning in (b"POST /infer", POST, POST + b"content-length: 100\r\n\r\n{"):
        for _ in range(60):
            wire = socket.create_connection((parts.hostname, parts.port))
            wire.sendall(beginning)
            wires.append(wire)
    with target.attacked("slow loris"):
        for _ in range(5):
            for wire in wires:
                try:
                    wire.sendall(b"x")
                except OSError:  # the server may well be tired of it
                    pass
            target.is_well()
    for wire in wires:
        wire.close()
    target.is_well()


# -- JSON -------------------------------------------------------------------------------------------------

DEEP = 100_000
NESTED = {"arrays": "[" * DEEP + "]" * DEEP, "objects": '{"a":' * DEEP + "1" + "}" * DEEP}
HERE = "@@"
ECHO = "tensorzero::model_name::echo"
# Every place that takes JSON of the caller's own.
PLACES: dict[str, tuple[str, Any]] = {
    "arguments": ("/inference", said({"type": "template", "name": "t", "arguments": {"a": HERE}})),
    "system": ("/inference", {**said(HELLO), "input": {"system": {"a": HERE}, "messages": []}}),
    "tool_call": ("/inference", said({"type": "tool_call", "id": "1", "name": "n", "arguments": {"a": HERE}})),
    "unknown": ("/inference", said({"type": "unknown", "data": HERE})),
    "extra_data": ("/inference", said({"type": "thought", "text": "x", "extra_data": HERE})),
    "parameters": (
        "/inference",
        said(HELLO, additional_tools=[{"name": "n", "description": "", "parameters": {"a": HERE}}]),
    ),
    "output_schema": ("/inference", said(HELLO, function_name="json", output_schema={"properties": {"a": HERE}})),
    "extra_body": ("/inference", said(HELLO, extra_body=[{"pointer": "/a", "value": HERE}])),
    "provider_tools": ("/inference", said(HELLO, provider_tools=[{"tool": {"a": HERE}}])),
    "inline variant": (
        "/inference",
        said(HELLO, internal_dynamic_variant_config={"type": "chat_completion", "model": "echo", "a": HERE}),
    ),
    "feedback": ("/feedback", {"metric_name": "comment", "value": HERE, "inference_id": "1"}),
    "unknown field": (
        "/openai/v1/chat/completions",
        {"model": ECHO, "messages": [], "x": HERE},
    ),
    "message": (
        "/openai/v1/chat/completions",
        {"model": ECHO, "messages": [{"role": "user", "content": HERE}]},
    ),
    "item": ("/openai/v1/responses", {"model": ECHO, "input": [{"a": HERE}]}),
    "tool_use": (
        "/anthropic/v1/messages",
        {
            "model": ECHO,
            "max_tokens": 1,
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "n", "input": {"a": HERE}}]}
            ],
        },
    ),
    "filter": ("/v1/datasets/d/list_datapoints", {"filter": {"a": HERE}}),
    "batch": ("/batch_inference", {"function_name": "chat", "inputs": [{"system": {"a": HERE}}]}),
}


def test_nesting_ends_at_a_bound_wherever_it_is(target: Target) -> None:
    for name, (path, body) in PLACES.items():
        text = json.dumps(body)
        assert text.count(f'"{HERE}"') == 1
        for kind, nested in NESTED.items():
            with target.attacked(f"{kind} in {name}"):
                reply = target.post(path, text.replace(f'"{HERE}"', nested).encode())
                assert (reply.status_code, "nested deeper than 128" in reply.text) == (400, True), name
        with target.attacked(f"a million brackets in {name}"):
            reply = target.post(path, text.replace(f'"{HERE}"', "[" + ",".join(["[]"] * 300_000) + "]").encode())
            assert reply.status_code < 500 or reply.status_code in (501, 502), name
    with target.attacked("JSON in a text, as deep as it likes"):
        for nested in NESTED.values():
            reply = target.post("/inference", said({"type": "raw_text", "value": nested}, function_name="json"))
            assert reply.status_code == 200
            call = {"type": "tool_call", "id": "1", "name": "n", "arguments": nested}
            assert target.post("/inference", said(call, HELLO)).status_code == 200


NUMBERS = ["1e400", "-1e400", "1" + "0" * 4000, "0." + "1" * 5000, "1e-4000", "NaN", "Infinity", "1e99999999999"]
NO_TEXT = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800", b"\x00"]


def test_no_number_is_too_much(target: Target) -> None:
    places = {
        **PLACES,
        "temperature": ("/inference", said(HELLO, params={"chat_completion": {"temperature": HERE}})),
        "seed": ("/openai/v1/chat/completions", {"model": ECHO, "messages": [], "seed": HERE}),
    }
    for number in NUMBERS:
        with target.attacked(number):
            for name, (path, body) in places.items():
                reply = target.post(path, json.dumps(body).replace(f'"{HERE}"', number).encode())
                assert reply.status_code < 500 or reply.status_code in (501, 502), (name, reply.text)


def test_what_is_no_utf_8_is_no_json(target: Target) -> None:
    places = {**PLACES, "text": ("/inference", said({"type": "text", "text": HERE}))}
    del places["unknown field"]  # which is passed over, whatever it is
    for text in NO_TEXT:
        with target.attacked(text):
            for name, (path, body) in places.items():
                reply = target.post(path, json.dumps(body).encode().replace(HERE.encode(), text))
                assert (reply.status_code, "error" in reply.json()) == (400, True), (name, text, reply.text)


# -- what is run, and where it leads ----------------------------------------------------------------------


DOUBLING = "".join(f"{{% set a{i + 1} = a{i} ~ a{i} %}}" for i in range(40))
TEMPLATES = {
    "doubling": f"{{% set a0 = 'x' %}}{DOUBLING}{{{{ a40 }}}}",
    "repeat": "{{ 'x' * 99999999999 }}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i * j }}{% endfor %}{% endfor %}",
    "range": "{{ range(999999999) | list | length }}",
    "include": "{% include '/etc/passwd' %}",
    "include itself": "{% include 't' %}",
    "macro": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "deep": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "no template": "{% for %}",
}


def test_a_template_of_a_request_is_held_to_its_bounds(target: Target) -> None:
    for name, template in TEMPLATES.items():
        path = {"path": {"__tensorzero_remapped_path": "t", "__data": template}}
        inline = {"type": "chat_completion", "model": "echo", "templates": {"t": path}}
        call = {"type": "template", "name": "t", "arguments": {}}
        with target.attacked(name):
            begun = time.monotonic()
            reply = target.post("/inference", said(call, internal_dynamic_variant_config=inline))
            assert (reply.status_code in (400, 500), "emplate" in reply.text) == (True, True), (name, reply.text)
            assert "root:" not in reply.text
            assert time.monotonic() - begun < NORMAL_S, name


def unfolding(keyword: str, levels: int = 40) -> dict[str, Any]:
    """Some kB of schema that would look at one value 2**levels times."""
    refers = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": refers | {f"d{levels}": {"type": "null"}}}


EVIL = "a" * 50_000 + "!"


def schemas(port: int) -> dict[str, Any]:
    return {
        **{keyword: unfolding(keyword) for keyword in ("allOf", "anyOf", "oneOf")},
        "remote": {"$ref": f"http://127.0.0.1:{port}/s.json"},
        "a file": {"$ref": "file:///etc/passwd"},
        "its own kind": {"$schema": f"http://127.0.0.1:{port}/s.json"},
        "itself": {"$ref": "#"},
        "pattern": {"type": "string", "pattern": "^(a+)+$"},
        "patterns": {"patternProperties": {"^(a+a+)+$": {"type": "null"}}},
        "repeats": {"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"},
        "back": {"type": "string", "pattern": "(a*)*\\1b"},
        "large": {"enum": ["x" * 1000] * 3000},
    }


def test_a_schema_of_a_request_is_held_to_its_bounds(target: Target) -> None:
    with trap() as port:
        for name, schema in schemas(port).items():
            tool = {"name": "n", "description": "", "parameters": schema}
            call = f"call n {json.dumps({EVIL: 1})}"
            for body in (
                said({"type": "text", "text": EVIL}, function_name="json", output_schema=schema),
                said({"type": "text", "text": call}, additional_tools=[tool]),
            ):
                with target.attacked(name):
                    begun = time.monotonic()
                    reply = target.post("/inference", body)
                    assert reply.status_code in (200, 400), (name, reply.text[:500])
                    assert time.monotonic() - begun < NORMAL_S, name


def chat(*content: Any) -> dict[str, Any]:
    return {"model": ECHO, "messages": [{"role": "user", "content": list(content)}]}


PRIVATE = [
    *(f"http://{host}:{{port}}/s" for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1")),
    *(f"http://{host}:{{port}}/s" for host in ("0x7f000001", "2130706433", "0177.0.0.1", "0.0.0.0", "me:it@127.0.0.1")),
    *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/latest/meta-data/", "http://10.0.0.1/"),
    *("file:///etc/passwd", "gopher://127.0.0.1:{port}/_GET", "http://127.0.0.1:{port}/s\r\nx-a: b", "http://", "//x"),
]


def test_a_file_comes_from_no_private_place(target: Target) -> None:
    with trap() as port:
        for url in [each.format(port=port) for each in PRIVATE]:
            image = {"type": "image_url", "image_url": {"url": url}}
            with target.attacked(url):
                for path, body in (
                    ("/inference", said({"type": "file", "file_type": "url", "url": url})),
                    ("/openai/v1/chat/completions", chat(image)),
                ):
                    reply = target.post(path, body)
                    assert reply.status_code in (400, 500, 502), (url, reply.text)
                    assert "root:" not in reply.text


@pytest.mark.parametrize("data", ["data:,x", "data:image/png;base64,@@@", "data:image/png,x", "data:;base64,", "data:"])
def test_a_data_url_has_to_be_base64(target: Target, data: str) -> None:
    with target.attacked(data):
        reply = target.post("/openai/v1/chat/completions", chat({"type": "image_url", "image_url": {"url": data}}))
        assert (reply.status_code, "messages[0].content[0]" in reply.text) == (400, True), reply.text


KEYS = ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\..\\b", "a\0b", "", ".", "a//b", "x" * 5000]


def test_no_key_leads_out_of_the_object_store(target: Target) -> None:
    for key in KEYS:
        path = {"kind": {"type": "filesystem", "path": "/"}, "path": key}
        pointer = {
            "type": "file",
            "file_type": "object_storage_pointer",
            "mime_type": "image/png",
            "storage_path": path,
        }
        with target.attacked(key):
            for reply in (
                target.http.get("/internal/object_storage", params={"storage_path": json.dumps(path)}),
                target.post("/inference", said(pointer)),
            ):
                assert reply.status_code in (400, 404, 500, 502), (key, reply.text)
                assert "root:" not in reply.text
                assert "unstable_" not in reply.text


HEADERS = [
    *(("x-a", "b\r\nx-c: d"), ("x-a\r\nx-c", "d"), ("x-a", "b\0"), ("", "x"), ("x a", "b"), ("x", "\u20ac")),
    *(("host", "x"), ("transfer-encoding", "chunked"), ("content-length", "0")),
]


def test_an_extra_header_cannot_become_two(target: Target) -> None:
    for name, value in HEADERS:
        with target.attacked(name):
            extra = [{"name": name, "value": value}]
            reply = target.post("/inference", said(HELLO, extra_headers=extra, function_name=None, model_name="up"))
            assert (reply.status_code, "eader" in reply.text) == (502, True), reply.text
