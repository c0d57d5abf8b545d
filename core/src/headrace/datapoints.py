"""What a datapoint holds, made of what a caller sends or of a stored inference, and checked against its function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, structs

from .attachments import Attachments
from .contracts import FunctionSpec
from .errors import BadRequest, NotFound
from .exchange import InferenceRequest
from .functions import Function, parse_output
from .records import Datapoint, InferenceRecord
from .schemas import Schema, compiled
from .tags import RESERVED
from .tools import check, configure
from .types import (
    Block,
    CustomTool,
    FunctionType,
    Input,
    JsonOutput,
    Output,
    ProviderTool,
    Tool,
    ToolChoice,
    ToolConfig,
)

# What inferences of a model alone are stored under; it accepts anything.
_DIRECT = FunctionSpec(f"{RESERVED}default", "chat")


class Draft(Struct, frozen=True, kw_only=True):
    """A datapoint to be, whole but for its dataset and its place."""

    function_name: str
    function_type: FunctionType
    input: Input
    output: Output | None = None
    tools: ToolConfig | None = None
    output_schema: Any = None
    tags: dict[str, str] = {}
    episode_id: UUID | None = None
    name: str | None = None
    is_custom: bool = True
    source_inference_id: UUID | None = None


class NewDatapoint(Struct, frozen=True, kw_only=True):
    """What a caller sends: of a chat function perhaps tools; of a json one a schema, and of its output the ``raw``."""

    function_name: str
    function_type: FunctionType
    input: Input
    output: Sequence[Block] | JsonOutput | None = None
    allowed_tools: tuple[str, ...] | None = None
    additional_tools: tuple[Tool, ...] = ()
    custom_tools: tuple[CustomTool, ...] = ()
    provider_tools: tuple[ProviderTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_schema: Any = None
    tags: dict[str, str] = {}
    episode_id: UUID | None = None
    name: str | None = None


class Change(Struct, frozen=True, kw_only=True):
    """What is to be different of a datapoint. What is not set stays; None clears where there can be none."""

    id: UUID
    function_type: FunctionType
    input: Input | UnsetType = UNSET
    output: Sequence[Block] | JsonOutput | UnsetType | None = UNSET
    allowed_tools: tuple[str, ...] | UnsetType | None = UNSET
    additional_tools: tuple[tuple[Tool, ...], tuple[CustomTool, ...]] | UnsetType = UNSET
    provider_tools: tuple[ProviderTool, ...] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    output_schema: Any = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    name: str | UnsetType | None = UNSET

    @property
    def is_of_tools(self) -> bool:
        """Whether it asks for other tools."""
        names = ("allowed_tools", "additional_tools", "provider_tools", "tool_choice", "parallel_tool_calls")
        return any(getattr(self, name) is not UNSET for name in names)


class Drafts:
    """Makes drafts. ``tools`` is every configured tool by key."""

    def __init__(self, functions: Mapping[str, Function], tools: Mapping[str, Tool], attachments: Attachments) -> None:
        self._functions = functions
        self._tools = tools
        self._attachments = attachments

    async def new(self, wanted: Sequence[NewDatapoint]) -> list[Draft]:
        """All of them, in order, with their files stored. Raise BadRequest that says which one is wrong, or NotFound
        for an unknown function; then no file has been stored."""
        drafts: list[Draft] = []
        for index, each in enumerate(wanted):
            try:
                drafts.append(self._new(each))
            except BadRequest as error:
                raise BadRequest(f"datapoints[{index}]: {error}") from None
        return [await self._with_files(draft) for draft in drafts]

    async def changed(self, old: Sequence[Datapoint], changes: Sequence[Change]) -> list[Draft]:
        """The same for datapoints and what is to change of each. A chat function's output is taken as it is."""
        drafts: list[Draft] = []
        for index, (before, change) in enumerate(zip(old, changes, strict=True)):
            try:
                drafts.append(self._changed(before, change))
            except BadRequest as error:
                raise BadRequest(f"datapoints[{index}]: {error}") from None
        return [
            draft if change.input is UNSET else await self._with_files(draft)
            for draft, change in zip(drafts, changes, strict=True)
        ]

    def _new(self, wanted: NewDatapoint) -> Draft:
        spec = self._spec(wanted.function_name)
        if spec is None:
            raise NotFound(f"Unknown function: {wanted.function_name}")
        if spec.type != wanted.function_type:
            raise BadRequest(f"type: function {spec.name} is a {spec.type} function, not {wanted.function_type}")
        self._check_input(spec.name, wanted.input)
        request = InferenceRequest(
            input=wanted.input,
            allowed_tools=wanted.allowed_tools,
            additional_tools=wanted.additional_tools,
            custom_tools=wanted.custom_tools,
            provider_tools=wanted.provider_tools,
            tool_choice=wanted.tool_choice,
            parallel_tool_calls=wanted.parallel_tool_calls,
        )
        tools = self._configured(request, spec)
        schema = _schema(wanted.output_schema, spec) if spec.type == "json" else None
        return Draft(
            function_name=spec.name,
            function_type=spec.type,
            input=wanted.input,
            output=_output(wanted.output, tools, schema),
            tools=tools,
            output_schema=schema.value if schema is not None else None,
            tags=wanted.tags,
            episode_id=wanted.episode_id,
            name=wanted.name,
        )

    def _changed(self, old: Datapoint, change: Change) -> Draft:
        if change.function_type != old.function_type:
            raise BadRequest(f"type: datapoint {old.id} is of a {old.function_type} function")
        input_, output, schema = old.input, old.output, old.output_schema
        if change.input is not UNSET:
            self._check_input(old.function_name, change.input)
            input_ = change.input
        tools = self._tools_of(old, change) if change.is_of_tools else old.tools
        if old.function_type == "json" and (change.output is not UNSET or change.output_schema is not UNSET):
            schema = old.output_schema if change.output_schema is UNSET else change.output_schema
            # The raw output that stays may fit the new schema, or no longer.
            raw = old.output if change.output is UNSET else change.output
            output = _output(raw, None, _schema(schema, self._spec(old.function_name)))
        elif not isinstance(change.output, UnsetType):
            output = _output(change.output, tools, None)
        return Draft(
            function_name=old.function_name,
            function_type=old.function_type,
            input=input_,
            output=output,
            tools=tools,
            output_schema=schema,
            tags=old.tags if isinstance(change.tags, UnsetType) else change.tags,
            episode_id=old.episode_id,
            name=old.name if isinstance(change.name, UnsetType) else change.name,
            source_inference_id=old.source_inference_id,
        )

    def _tools_of(self, old: Datapoint, change: Change) -> ToolConfig | None:
        """The tools that the old ones' request would give, with what has changed in it."""
        spec, had = self._spec(old.function_name), old.tools or ToolConfig()
        if spec is None:
            raise BadRequest(f"function {old.function_name} is no longer configured, so its tools cannot be changed")
        # A record has the names that the model knows, a request the keys of the configuration.
        configured = {**self._tools, **spec.tools}
        keys = {tool.name: key for key, tool in configured.items()}
        allowed = None if had.allowed is None else tuple(keys.get(name, name) for name in had.allowed)
        added = tuple(tool for tool in had.tools if tool not in configured.values()), had.custom
        additional, custom = added if isinstance(change.additional_tools, UnsetType) else change.additional_tools
        request = InferenceRequest(
            input=old.input,
            allowed_tools=allowed if isinstance(change.allowed_tools, UnsetType) else change.allowed_tools,
            additional_tools=additional,
            custom_tools=custom,
            provider_tools=had.provider_tools
            if isinstance(change.provider_tools, UnsetType)
            else change.provider_tools,
            tool_choice=(
                (old.tools.choice if old.tools else None)
                if isinstance(change.tool_choice, UnsetType)
                else change.tool_choice
            ),
            parallel_tool_calls=(
                had.parallel if isinstance(change.parallel_tool_calls, UnsetType) else change.parallel_tool_calls
            ),
        )
        return self._configured(request, spec)

    def _configured(self, request: InferenceRequest, spec: FunctionSpec) -> ToolConfig | None:
        for tool in request.additional_tools:
            try:
                compiled(tool.parameters)
            except ValueError as error:
                raise BadRequest(
                    f"additional_tools: the parameters of {tool.name} are no JSON Schema: {error}"
                ) from None
        return configure(request, spec, self._tools)

    def _spec(self, function_name: str) -> FunctionSpec | None:
        function = self._functions.get(function_name)
        if function is not None:
            return function.spec
        return _DIRECT if function_name == _DIRECT.name else None

    def _check_input(self, function_name: str, input_: Input) -> None:
        function = self._functions.get(function_name)
        if function is not None:
            function.check(input_)

    async def _with_files(self, draft: Draft) -> Draft:
        if not self._attachments.has_files(draft.input):
            return draft
        with self._attachments.held(draft.input):
            resolved = await self._attachments.resolved(draft.input)
            return structs.replace(draft, input=await self._attachments.stored(resolved, dryrun=False))


def draft_of(record: InferenceRecord, output: Output | None) -> Draft:
    """The draft of a stored inference with this output. Raise BadRequest if its input has expired."""
    if record.input is None:
        raise BadRequest(f"Inference {record.id} has expired: its input is no longer stored")
    return Draft(
        function_name=record.function_name,
        function_type=record.function_type,
        input=record.input,
        output=output,
        tools=record.tools,
        output_schema=record.output_schema,
        tags=record.tags,
        episode_id=record.episode_id,
        is_custom=False,
        source_inference_id=record.id,
    )


def _schema(value: Any, spec: FunctionSpec | None) -> Schema | None:
    """The schema of a json output, or else the function's. Raise BadRequest if it is none."""
    if value is None:
        return spec.output_schema if spec is not None else None
    try:
        return compiled(value)
    except ValueError as error:
        raise BadRequest(f"output_schema: not a JSON Schema: {error}") from None


def _output(
    output: Sequence[Any] | JsonOutput | None, tools: ToolConfig | None, schema: Schema | None
) -> Output | None:
    """The output as records have it. What does not fit schema or tools is kept, and marked as not fitting."""
    if output is None:
        return None
    return parse_output(output.raw, schema) if isinstance(output, JsonOutput) else check(output, tools)
