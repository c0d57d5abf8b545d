"""What the model is shown: instructions, examples as earlier turns, and the input in the examples' own form."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import BadRequest, HeadraceError
from headrace.media import File
from headrace.records import Example
from headrace.types import (
    Block,
    CheckedToolCall,
    ContentBlock,
    FunctionType,
    Input,
    InputBlock,
    JsonOutput,
    Message,
    RawText,
    Template,
    Text,
    ToolCall,
    Unknown,
)
from msgspec import DecodeError, json

INSTRUCTIONS = """\
You learn a task from examples of it. Each of the earlier user messages is an input of the task, and the assistant \
message after it is the right output for that input. Work out what connects the inputs with their outputs: what is \
decided, by which rule, and in which form it is written. Then answer the last user message the same way. Give the \
output alone, exactly in the form that the examples have, and nothing before or after it."""

_CHAT = json.Decoder(tuple[ContentBlock, ...])
_JSON = json.Decoder(JsonOutput)


def text_of(input_: Input) -> str:
    """The input as examples hold it: the JSON of a StoredInput. Raise BadRequest for a block without a text form."""
    for message in input_.messages:
        for block in message.content:
            if isinstance(block, (File, Unknown)):
                kind = "file" if isinstance(block, File) else "unknown"
                raise BadRequest(
                    f"in-context learning compares inputs as text: it cannot take a block of type `{kind}`"
                )
    return json.encode(input_).decode()


def with_examples(examples: Sequence[Example], text: str, function_type: FunctionType) -> tuple[Message, ...]:
    """A turn of user and assistant for each example, then the input's JSON."""
    turns: list[Message] = []
    for example in examples:
        turns += [_user(example.input), Message("assistant", _answer(example, function_type))]
    return (*turns, _user(text))


def without_examples(input_: Input) -> tuple[Message, ...]:
    """The request's own turns; a template, which this variant cannot render, is shown by its arguments."""
    return tuple(Message(turn.role, tuple(_plain(block) for block in turn.content)) for turn in input_.messages)


def _user(text: str) -> Message:
    return Message("user", (Text(text),))


def _plain(block: InputBlock) -> Block:
    if isinstance(block, RawText):
        return Text(block.value)
    if isinstance(block, Template):
        return Text(json.encode(block.arguments).decode())
    return block


def _answer(example: Example, function_type: FunctionType) -> tuple[Block, ...]:
    """The stored output as the model would have said it; thoughts stay with the model that had them."""
    try:
        if function_type == "json":
            return (Text(_JSON.decode(example.output).raw or ""),)
        output = _CHAT.decode(example.output)
    except DecodeError as error:
        raise HeadraceError(
            f"example {example.id} of functions.{example.function_name}.variants.{example.variant_name} "
            f"does not hold the JSON of a {function_type} output: {error}"
        ) from None
    blocks: list[Block] = []
    for block in output:
        if isinstance(block, CheckedToolCall):
            blocks.append(ToolCall(block.id, block.raw_name, block.raw_arguments))
        elif isinstance(block, Text):
            blocks.append(block)
    return tuple(blocks)
