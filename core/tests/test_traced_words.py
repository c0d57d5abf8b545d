"""What spans say, what a request may add to them, and how a traced gateway starts and ends."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from headrace import plugins
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.errors import ConfigError
from headrace.plugins import Registry
from headrace.traced import TracedTransport
from headrace.tracing import Tracing, current, within
from headrace.transport import Call, Reply
from notebook import (
    ASK,
    ENVIRON,
    INPUT,
    ON,
    PREFIX,
    Notebook,
    Open,
    Settings,
)
from notebook import traced as traced
from notebook import tracers as tracers
from recipes import function, model

pytestmark = pytest.mark.anyio

# -- words ------------------------------------------------------------------------------------------------


async def test_prompts_and_answers_stay_at_home_unless_wanted(traced: Open) -> None:
    wanted = ON + "include_content = true\n"
    for on, is_there in ((ON, False), (wanted, True)):
        async with traced(model(says='["the answer"]') + function(), on=on) as host:
            await host.ask(input={"system": "be brief", "messages": INPUT["messages"]})
            shown = json.dumps([span.attributes for span in host.book.named("model_provider_inference")])
            assert ("the answer" in shown, "be brief" in shown) == (is_there, is_there)
    said = host.book.one("model_provider_inference").attributes
    content = {key: json.loads(str(value)) for key, value in said.items() if str(value).startswith("[")}
    assert content == {
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}],
        "gen_ai.output.messages": [
            {"role": "assistant", "parts": [{"type": "text", "content": "the answer"}], "finish_reason": "stop"}
        ],
        "gen_ai.system_instructions": [{"type": "text", "content": "be brief"}],
    }


async def test_openinference_has_its_own_words(traced: Open) -> None:
    on = ON + 'format = "openinference"\ninclude_content = true\n'
    async with traced(model() + function(), on=on) as host:
        await host.ask()
        await host.ask(stream=True)
        for name in ("function_inference", "variant_inference", "model_inference"):
            assert {span.attributes["openinference.span.kind"] for span in host.book.named(name)} == {"CHAIN"}
        whole, streamed = (span.attributes for span in host.book.named("model_provider_inference"))
        tokens = {"llm.token_count.prompt": 3, "llm.token_count.completion": 1, "llm.token_count.total": 4}
        about = {"provider_name": "p", "openinference.span.kind": "LLM", "llm.system": "scripted"} | tokens
        raws = {"input.value": "asked", "output.value": "said"}
        types = {"input.mime_type": "application/json", "output.mime_type": "application/json"}
        assert whole == about | {"stream": False} | raws | types
        assert streamed == about | {"stream": True}


# -- what comes and goes ----------------------------------------------------------------------------------


async def test_a_trace_goes_on_where_it_came_from(traced: Open) -> None:
    async with traced(model() + function()) as host:
        came = {"traceparent": "00-a-b-01", "tracestate": "c=d"}
        await host.http.post("/inference", json=ASK, headers=came)
        assert host.book.contexts[0][0] == came


async def test_outgoing_calls_carry_the_span_they_are_made_in() -> None:
    script = Script(*[Reply(200, {}, b"")] * 4)
    transport, book = TracedTransport(script), Notebook(Settings(endpoint=""))
    async with Tracing(book) as tracing:
        await transport.send(Call("http://x"))
        node = tracing.root("r", {}, context={})
        with within(node):
            await transport.send(Call("http://x", headers={"a": "b"}))
            async with transport.stream(Call("http://x")):
                pass
            await transport.send(Call("http://x", headers={"Traceparent": "mine"}))
        node.end()
    assert [dict(call.headers) for call in script.calls] == [
        {},
        {"a": "b", "traceparent": "of r"},
        {"traceparent": "of r"},
        {"Traceparent": "mine"},
    ]


async def test_a_request_may_add_to_its_own_trace(traced: Open) -> None:
    async with traced(model() + function()) as host:
        headers = {f"{PREFIX}header-a": "b", f"{PREFIX}resource-c": "d", f"{PREFIX}attribute-e": '"f"'}
        await host.http.post("/inference", json=ASK, headers=headers)
        custom = host.book.contexts[0][1]
        assert (custom.headers, custom.resource, custom.attributes) == ({"a": "b"}, {"c": "d"}, {"e": "f"})


@pytest.mark.parametrize("on", [ON, ""], ids=["on", "off"])
@pytest.mark.parametrize(
    ("name", "value", "status", "text"),
    [
        ("header-a", b"\xc3\xa9", 500, "Failed to parse"),
        ("header-a-bin", b"x", 500, "Failed to parse"),
        ("header-", b"x", 500, "Failed to parse"),
        ("resource-a", b"\xc3\xa9", 400, "not visible ASCII"),
        ("attribute-a", b"abc", 400, "value as valid JSON: "),
        ("attribute-a", b"1", 400, "Numbers are not yet supported"),
        ("attribute-a", b"null", 400, "Null values are not yet supported"),
        ("attribute-a", b"[1]", 400, "Arrays are not yet supported"),
        ("attribute-a", b"{}", 400, "Objects are not yet supported"),
        ("attribute-a", b"[" * 100_000, 400, "value as valid JSON: "),
    ],
    ids=["value", "binary", "nameless", "resource", "no JSON", "number", "null", "array", "object", "deep"],
)
async def test_http_edge_31_a_malformed_header_breaks_every_route(
    traced: Open, on: str, name: str, value: bytes, status: int, text: str
) -> None:
    async with traced(model() + function(), on=on) as host:
        for method, path in (("GET", "/status"), ("POST", "/inference"), ("GET", "/nowhere")):
            headers = [(PREFIX.encode() + name.encode(), value)]
            answer = await host.http.request(method, path, headers=headers)
            assert (answer.status_code, text in answer.json()["error"]) == (status, True)
            assert "x-tensorzero-gateway-version" in answer.headers
        assert host.book.roots == []


async def test_traces_that_are_off_read_and_forward_nothing(traced: Open) -> None:
    async with traced(model() + function(), on="") as host:
        await host.http.post("/inference", json=ASK, headers={"traceparent": "x", f"{PREFIX}header-a": "b"})
        assert (host.gateway.tracing, type(host.gateway).__name__) == (None, "Gateway")
        assert current() is None


# -- start and end ----------------------------------------------------------------------------------------


async def test_closing_waits_for_spans_that_are_about_to_end() -> None:
    book = Notebook(Settings(endpoint=""))
    async with anyio.create_task_group() as tasks:
        async with Tracing(book) as tracing:
            node = tracing.root("late", {}, context={})
            tasks.start_soon(_end_soon, node)
        assert book.ended == ["late"]


async def _end_soon(node: Any) -> None:
    await anyio.lowlevel.checkpoint()
    node.end()


async def test_closing_gives_up_spans_that_never_end(caplog: pytest.LogCaptureFixture) -> None:
    async with Tracing(Notebook(Settings(endpoint="")), end_within_s=0.01) as tracing:
        tracing.root("lost", {}, context={})
    assert "1 spans had not ended" in caplog.text


def problems(registry: Registry, more: str = "", environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        text = f'[gateway.observability]\nbackend = "memory"\n{ON}{more}'
        Assembly(loads(text), registry, environ=ENVIRON if environ is None else environ).gateway()
    return caught.value.problems


async def test_a_missing_endpoint_is_told_by_its_option_and_its_variable(tracers: Registry) -> None:
    [problem] = problems(tracers, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://generic:4317"})
    assert problem.startswith("gateway.export.otlp.traces.enabled: ")
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in problem
    assert "http://localhost:4317" in problem


async def test_a_missing_plugin_is_told_by_what_to_install() -> None:
    [problem] = problems(plugins.load(disabled=["otlp"]))
    assert problem.endswith("`pip install headrace-otlp`")


async def test_headers_that_no_export_can_have_are_refused(tracers: Registry) -> None:
    [problem] = problems(tracers, 'extra_headers = { "bad name" = "x" }\n')
    assert problem.startswith("gateway.export.otlp.traces.extra_headers: 'bad name'")
