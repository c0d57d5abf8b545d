"""Datapoints as callers write them (datasets-and-queries 5 and 6), to the neutral form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..datapoints import Change, NewDatapoint
from ..errors import BadRequest
from ..tags import canonical
from ..types import Block, InputBlock, JsonOutput, Specific, Text, Thought, ToolCall, Unknown
from .blocks import InputBody, to_input
from .bodies import ProviderToolBody, ToolBody, to_provider_tools, to_tools

T = TypeVar("T")

_Choice: TypeAlias = Literal["none", "auto", "required"] | Specific


class RawOutput(Struct):
    """The output of a json function. ``parsed`` is found from it."""

    raw: str | None = None


class NewChat(Struct, tag="chat", kw_only=True):
    """A new datapoint of a chat function."""

    function_name: str
    input: InputBody
    output: list[Any] | None = None
    episode_id: UUID | None = None
    allowed_tools: list[str] | None = None
    additional_tools: list[ToolBody] | None = None
    tool_choice: _Choice | None = None
    parallel_tool_calls: bool | None = None
    provider_tools: list[ProviderToolBody] | None = None
    tags: dict[str, str] | None = None
    name: str | None = None


class NewJson(Struct, tag="json", kw_only=True):
    """A new datapoint of a json function."""

    function_name: str
    input: InputBody
    output: RawOutput | None = None
    output_schema: Any = None
    episode_id: UUID | None = None
    tags: dict[str, str] | None = None
    name: str | None = None


class CreateBody(Struct):
    """New datapoints; all of them are made, or none."""

    datapoints: list[NewChat | NewJson]


class ChangedChat(Struct, tag="chat", kw_only=True):
    """What is to change of a datapoint of a chat function. Of the fields that can be unset, null clears."""

    id: UUID
    input: InputBody | None = None
    output: list[Any] | UnsetType | None = UNSET
    allowed_tools: list[str] | UnsetType | None = UNSET
    additional_tools: list[ToolBody] | None = None
    tool_choice: _Choice | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    provider_tools: list[ProviderToolBody] | None = None
    tags: dict[str, str] | None = None
    name: str | UnsetType | None = UNSET


class ChangedJson(Struct, tag="json", kw_only=True):
    """The same of a datapoint of a json function."""

    id: UUID
    input: InputBody | None = None
    output: RawOutput | UnsetType | None = UNSET
    output_schema: Any = None
    tags: dict[str, str] | None = None
    name: str | UnsetType | None = UNSET


class UpdateBody(Struct):
    """Changes to datapoints, each of which gets a new id."""

    datapoints: list[ChangedChat | ChangedJson]


class Renamed(Struct):
    """A name; null takes it away."""

    id: UUID
    name: str | UnsetType | None = UNSET


class RenameBody(Struct):
    """Names of datapoints, which keep their ids."""

    datapoints: list[Renamed]


class IdsBody(Struct):
    """Which datapoints."""

    ids: list[UUID]


class CloneBody(Struct):
    """Which datapoints to copy."""

    datapoint_ids: list[UUID]


def to_new(body: CreateBody) -> list[NewDatapoint]:
    """The neutral form. Raise BadRequest for what its shape allows and its meaning does not."""
    _at_least_one(body.datapoints, "datapoints")
    return [_new(each, f"datapoints[{index}]") for index, each in enumerate(body.datapoints)]


def to_changes(body: UpdateBody, *, null_keeps: bool) -> list[Change]:
    """The same for changes. ``null_keeps`` is for clients that write null for what they were not given."""
    _at_least_one(body.datapoints, "datapoints")
    check_unique(each.id for each in body.datapoints)
    return [_change(each, f"datapoints[{index}]", null_keeps) for index, each in enumerate(body.datapoints)]


def to_names(body: RenameBody, *, null_keeps: bool) -> list[tuple[UUID, str | UnsetType | None]]:
    """Ids and names; one that is not set stays."""
    _at_least_one(body.datapoints, "datapoints")
    check_unique(each.id for each in body.datapoints)
    return [(each.id, UNSET if null_keeps and each.name is None else each.name) for each in body.datapoints]


def to_ids(body: IdsBody) -> list[UUID]:
    """The ids. Raise BadRequest if there are none."""
    _at_least_one(body.ids, "ids")
    return body.ids


def check_unique(ids: Iterable[UUID]) -> None:
    """Raise BadRequest for an id that comes twice."""
    seen: set[UUID] = set()
    for id_ in ids:
        if id_ in seen:
            raise BadRequest(f"datapoints: duplicate id {id_}: each datapoint can be changed once in a request")
        seen.add(id_)


def _new(body: NewChat | NewJson, where: str) -> NewDatapoint:
    common: dict[str, Any] = {
        "function_name": canonical(body.function_name),
        "input": to_input(body.input, where=f"{where}.input"),
        "episode_id": body.episode_id,
        "tags": body.tags or {},
        "name": body.name,
    }
    if isinstance(body, NewJson):
        output = JsonOutput(body.output.raw) if body.output is not None else None
        return NewDatapoint(function_type="json", output=output, output_schema=body.output_schema, **common)
    tools, custom = to_tools(body.additional_tools, where=f"{where}.additional_tools")
    return NewDatapoint(
        function_type="chat",
        output=_blocks(body.output, f"{where}.output") if body.output is not None else None,
        allowed_tools=tuple(body.allowed_tools) if body.allowed_tools is not None else None,
        additional_tools=tools,
        custom_tools=custom,
        provider_tools=to_provider_tools(body.provider_tools, where=f"{where}.provider_tools"),
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls,
        **common,
    )


def _change(body: ChangedChat | ChangedJson, where: str, null_keeps: bool) -> Change:
    def set_to(value: Any, convert: Callable[[Any], Any] = lambda value: value) -> Any:
        """A field that null clears."""
        if value is None:
            return UNSET if null_keeps else None
        return UNSET if value is UNSET else convert(value)

    common: dict[str, Any] = {
        "id": body.id,
        "input": _given(body.input, lambda value: to_input(value, where=f"{where}.input")),
        "tags": _given(body.tags),
        "name": set_to(body.name),
    }
    if isinstance(body, ChangedJson):
        output = set_to(body.output, lambda value: JsonOutput(value.raw))
        return Change(function_type="json", output=output, output_schema=_given(body.output_schema), **common)
    return Change(
        function_type="chat",
        output=set_to(body.output, lambda value: _blocks(value, f"{where}.output")),
        allowed_tools=set_to(body.allowed_tools, tuple),
        additional_tools=_given(
            body.additional_tools, lambda value: to_tools(value, where=f"{where}.additional_tools")
        ),
        provider_tools=_given(
            body.provider_tools, lambda value: to_provider_tools(value, where=f"{where}.provider_tools")
        ),
        tool_choice=set_to(body.tool_choice),
        parallel_tool_calls=set_to(body.parallel_tool_calls),
        **common,
    )


def _given(value: Any, convert: Callable[[Any], Any] = lambda value: value) -> Any:
    """A field in which null is as good as absence."""
    return UNSET if value is None else convert(value)


def _blocks(output: Sequence[Any], where: str) -> tuple[Block, ...]:
    """The blocks of an answer: those that a message of the assistant's could have, but for what only inputs have."""
    message = {"messages": [{"role": "assistant", "content": list(output)}]}
    try:
        said = to_input(msgspec.convert(message, InputBody)).messages[0].content
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.messages[0].content")
        raise BadRequest(f"{where}{path.rstrip('`')}: {reason}") from None
    except BadRequest as error:
        raise BadRequest(str(error).replace("input.messages[0].content", where, 1)) from None
    return tuple(_block(block, f"{where}[{index}]") for index, block in enumerate(said))


def _block(block: InputBlock, where: str) -> Block:
    if isinstance(block, (Text, ToolCall, Thought, Unknown)):
        return block
    raise BadRequest(f"{where}.type: an output has blocks of `text`, `tool_call`, `thought` and `unknown`")


def _at_least_one(values: Sequence[Any], where: str) -> None:
    if not values:
        raise BadRequest(f"{where}: at least one is needed")
