"""Exact match: equal is equal in JSON's eyes, whatever ids a model makes up."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from headrace import Evaluator, Services
from headrace.conformance.evaluator import EvaluatorConformance, Judged, chat, datapoint
from headrace.conformance.script import Script, services
from headrace.types import CheckedToolCall, JsonOutput, Text
from headrace_exact_match import ExactMatch, Settings
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


class TestExactMatch(EvaluatorConformance):
    worse_then_better = (Judged(chat("4"), chat("5"), False), Judged(chat("4"), chat("4"), True))
    judged = (
        Judged(chat("4"), chat("4 "), False),
        Judged((Text("a"), Text("b")), (Text("b"), Text("a")), False),
        Judged((Text("a"), Text("b")), (Text("ab"),), False),
        Judged((), (), True),
        Judged(JsonOutput('{"a": 1, "b": 2}', {"a": 1, "b": 2}), JsonOutput('{"b":2,"a":1}', {"b": 2, "a": 1}), True),
        Judged(JsonOutput('{"a":1}', {"a": 1}), JsonOutput('{"a":', None), False),
        Judged(JsonOutput('{"a":1}', {"a": 1}), JsonOutput('{"a":true}', {"a": True}), False),
        Judged(JsonOutput("{", None), JsonOutput('{"a":1}', {"a": 1}), None),
        Judged(JsonOutput(None, {"a": 1}), JsonOutput('{"a":1}', {"a": 1}), True),
    )
    broken = Judged(chat("4"), JsonOutput("4", 4), None)

    def build(self, services: Services) -> Evaluator:
        return ExactMatch(Settings(), services)


def call(arguments: Any, *, name: str | None = "add", id_: str = "1", raw: str = "") -> tuple[CheckedToolCall]:
    return (CheckedToolCall(id_, "add", raw, name, arguments),)


@pytest.mark.parametrize(
    ("reference", "output", "equal"),
    [
        (call({"a": 1}, raw='{"a":1}'), call({"a": 1}, id_="2", raw='{ "a": 1 }'), True),
        (call({"a": 1}), call({"a": 2}), False),
        (call({"a": 1}), call({"a": True}), False),
        (call(None, name=None, raw="{"), call(None, name=None, id_="2", raw="{"), True),
        (call(None, raw="{"), call(None, raw="{{"), False),
        (call({}, raw="{}"), call(None, raw="{}"), False),
        (call({}), (*call({}), Text("done")), False),
    ],
    ids=["id-and-spaces", "arguments", "true-is-not-1", "broken-alike", "broken-apart", "does-not-fit", "more-blocks"],
)
async def test_tool_calls_are_compared_by_what_they_ask(reference: Any, output: Any, equal: bool) -> None:
    evaluator = ExactMatch(Settings(), services(Script()))
    assert await evaluator.evaluate(datapoint(output=reference), output) is equal


def test_a_cutoff_is_taken_but_said_to_be_deprecated(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ExactMatch(Settings(cutoff=0.5), services(Script()))
    assert "`cutoff` is deprecated" in caplog.text


@pytest.mark.parametrize("table", [{"cutof": 0.5}, {"cutoff": -1}], ids=["typo", "negative"])
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)
