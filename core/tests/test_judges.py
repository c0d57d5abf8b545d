"""LLM judges are json functions that anybody may call."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import ConfigError
from headrace.types import Input, InputMessage, JsonOutput, Template
from recipes import ask, function, model

pytestmark = pytest.mark.anyio

JUDGE = """type = "llm_judge"
output_type = "{type_}"
optimize = "max"
{more}
[{at}.variants.strict]
type = "chat_completion"
model = "m"
json_mode = "on"
system_instructions = {{ __tensorzero_remapped_path = "judge.txt", __data = "Say {{{{ no }}}} \\"word\\"\\n" }}
"""


def judge(at: str, type_: str = "boolean", more: str = "") -> str:
    return f"[{at}]\n" + JUDGE.format(at=at, type_=type_, more=more)


ASKED = Template("user", {"input": "a", "generated_output": "b"})
OF_FUNCTION, OF_EVALUATION = "functions.f.evaluators.good", "evaluations.quality.evaluators.good"
EVALUATION = '[evaluations.quality]\ntype = "inference"\nfunction_name = "f"\n'


@pytest.mark.parametrize(
    ("toml", "name"),
    [
        (judge(OF_FUNCTION), "tensorzero::llm_judge::function_name::f::good"),
        (judge(OF_FUNCTION), "headrace::llm_judge::function_name::f::good"),
        (EVALUATION + judge(OF_EVALUATION), "tensorzero::llm_judge::quality::good"),
    ],
    ids=["of-a-function", "other-spelling", "of-an-evaluation"],
)
async def test_a_judge_is_a_function(opened: Any, toml: str, name: str) -> None:
    async with opened(model(says="['{\"score\": true}']") + function() + toml) as host:
        answer = await host.gateway.infer(ask(function_name=name, input=Input((InputMessage("user", (ASKED,)),))))
        [request] = host.asked()
    assert answer.output == JsonOutput('{"score": true}', {"score": True})
    assert request.system == 'Say {{ no }} "word"\n'
    assert request.messages[0].content[0].text == "# Input\n\na\n\n# Generated Output\n\nb"


async def test_the_reference_is_a_section_of_its_own(opened: Any) -> None:
    asked = Template("user", {"input": "a", "generated_output": "b", "reference_output": "c"})
    async with opened(model() + function() + judge(OF_FUNCTION)) as host:
        await host.gateway.infer(
            ask(
                function_name="tensorzero::llm_judge::function_name::f::good",
                input=Input((InputMessage("user", (asked,)),)),
            )
        )
        [request] = host.asked()
    assert request.messages[0].content[0].text.endswith("\n\n# Reference Output\n\nc")


@pytest.mark.parametrize(
    ("type_", "raw", "fits"), [("float", '{"score": 0.5}', True), ("boolean", '{"score": 1}', False)]
)
async def test_a_score_has_its_type(opened: Any, type_: str, raw: str, fits: bool) -> None:
    async with opened(model(says=f"['{raw}']") + function() + judge(OF_FUNCTION, type_)) as host:
        answer = await host.gateway.infer(
            ask(
                function_name="tensorzero::llm_judge::function_name::f::good",
                input=Input((InputMessage("user", (ASKED,)),)),
            )
        )
    assert (answer.output.parsed is not None) is fits


async def test_a_judge_of_messages_gets_them_as_they_are(opened: Any) -> None:
    async with opened(model() + function() + judge(OF_FUNCTION, more='input_format = "messages"')) as host:
        await host.gateway.infer(ask(function_name="tensorzero::llm_judge::function_name::f::good"))
        [request] = host.asked()
    assert request.messages[0].content[0].text == "hi"


async def test_what_is_wrong_with_a_judges_variant_is_said_of_its_key(opened: Any) -> None:
    toml = (model() + function() + judge(OF_FUNCTION)).replace('model = "m"\njson_mode', 'model = "nobody"\njson_mode')
    with pytest.raises(ConfigError) as caught:
        async with opened(toml):
            pass
    [line] = caught.value.problems
    assert line.startswith("functions.f.evaluators.good.variants.strict: Model name 'nobody' not found")
