"""Regex: found where it must be, absent where it must not be, and clear about having no text."""

from __future__ import annotations

from typing import Any

import pytest
from headrace import Evaluator, Services
from headrace.conformance.evaluator import EvaluatorConformance, Judged, chat, datapoint
from headrace.conformance.script import Script, services
from headrace.types import CheckedToolCall, JsonOutput, Output, Text
from headrace_regex import Regex, Settings
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

NO_TEXT = (CheckedToolCall("1", "add", "{}", "add", {}),)


class TestRegex(EvaluatorConformance):
    lacks = {  # noqa: RUF012
        "reference": "an expression judges the output alone",
        "failure": "every output has a text or has none; both can be judged",
    }
    worse_then_better = (Judged(None, chat("five"), False), Judged(None, chat("about 4 or so"), True))
    judged = (
        Judged(None, chat("4, I am sorry"), False),
        Judged(None, (Text("4"), *NO_TEXT, Text("2")), True),
        Judged(None, NO_TEXT, False),
        Judged(None, JsonOutput('{"a": 4}', None), True),
        Judged(None, JsonOutput(None), False),
    )

    def build(self, services: Services) -> Evaluator:
        return Regex(Settings.model_validate({"must_match": r"\d", "must_not_match": "(?i)sorry"}), services)


@pytest.mark.parametrize(
    ("table", "output", "score"),
    [
        ({"must_match": "^42$"}, (Text("4"), Text("2")), True),
        ({"must_match": "a.b"}, chat("a\nb"), False),
        ({"must_match": ""}, chat(""), True),
        ({"must_match": ""}, NO_TEXT, False),
        ({"must_not_match": "x"}, NO_TEXT, True),
        ({"must_not_match": "x"}, JsonOutput(None), True),
        ({"must_not_match": "x"}, chat("box"), False),
        ({"must_match": "b", "must_not_match": "x"}, chat("box"), False),
    ],
    ids=["joined", "dot", "empty-text", "no-text", "no-text-forbidden", "no-json", "found-but-forbidden", "both"],
)
async def test_texts_are_searched(table: dict[str, Any], output: Output, score: bool) -> None:
    assert await Regex(Settings.model_validate(table), services(Script())).evaluate(datapoint(), output) is score


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({}, "needs `must_match`, `must_not_match` or both"),
        ({"must_match": "("}, "'\\(' is not a regular expression of Python's: missing"),
        ({"must_not_match": 3}, "must_not_match"),
        ({"must_mach": "x"}, "must_mach"),
    ],
    ids=["nothing", "broken", "number", "typo"],
)
def test_a_wrong_table_is_refused_at_start_up(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Settings.model_validate(table)
