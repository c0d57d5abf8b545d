"""Which datapoints can become examples, and as which texts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.contracts import FunctionSpec
from headrace.errors import BadRequest
from headrace.records import Datapoint
from headrace.types import CheckedToolCall, JsonOutput, ToolCall, ToolResult, Unknown
from msgspec import json


def check_function(function: FunctionSpec, name: str) -> None:
    """Raise BadRequest unless this is the function of the settings, and one without tools."""
    if function.name != name:
        raise BadRequest(
            f"the optimizer's `function_name` is {name!r}, but it was given the function {function.name!r}"
        )
    if function.tools:
        raise BadRequest(
            f"functions.{name}.tools: examples are inputs and outputs, they cannot show how tools are used; "
            f"`dicl` takes functions without tools (found: {', '.join(sorted(function.tools))})"
        )


def curated(datapoints: Sequence[Datapoint]) -> list[Datapoint]:
    """Those with an output, oldest first. Raise BadRequest if there are none, or one that cannot be an example."""
    found = [each for each in datapoints if _has_output(each)]
    if not found:
        raise BadRequest(
            f"the train split has {len(datapoints)} datapoints and none of them has an output: there is nothing to "
            "learn from. Give good feedback or demonstrations, and build the dataset from them"
        )
    for datapoint in found:
        if problem := _problem(datapoint):
            raise BadRequest(f"datapoint {datapoint.id} cannot become an example: {problem}")
    return sorted(found, key=lambda each: each.id)


def input_text(datapoint: Datapoint) -> str:
    """The JSON of the input, templates un-rendered: exactly what the variant embeds when it is asked."""
    return json.encode(datapoint.input).decode()


def output_text(datapoint: Datapoint) -> str:
    """The JSON of the output."""
    return json.encode(datapoint.output).decode()


def _has_output(datapoint: Datapoint) -> bool:
    """A json output counts only if it satisfied its schema: another one would teach the wrong form."""
    output = datapoint.output
    if isinstance(output, JsonOutput):
        return output.raw is not None and output.parsed is not None
    return bool(output)


def _problem(datapoint: Datapoint) -> str | None:
    blocks = [block for message in datapoint.input.messages for block in message.content]
    if datapoint.tools is not None:
        return "it has tools"
    if any(isinstance(block, ToolCall | ToolResult) for block in blocks):
        return "its input has tool calls or results"
    if any(isinstance(block, Unknown) for block in blocks):
        return "its input has a block of type `unknown`, which has no text to compare"
    if isinstance(datapoint.output, tuple) and any(isinstance(block, CheckedToolCall) for block in datapoint.output):
        return "its output has tool calls"
    return None
