"""Msgspec Structs that cross borders: what is asked, what is answered, piece by piece or whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType, structs

from .extras import Extra
from .media import File

Role: TypeAlias = Literal["user", "assistant"]
FunctionType: TypeAlias = Literal["chat", "json"]
FinishReason: TypeAlias = Literal["stop", "stop_sequence", "length", "tool_call", "content_filter", "unknown"]
JsonMode: TypeAlias = Literal["off", "on", "strict", "tool", "implicit_tool"]
ServiceTier: TypeAlias = Literal["auto", "default", "priority", "flex"]
ApiType: TypeAlias = Literal["chat_completions", "responses", "embeddings", "other"]
CacheMode: TypeAlias = Literal["off", "on", "read_only", "write_only"]
Split: TypeAlias = Literal["train", "validation", "test"]

# -- content ----------------------------------------------------------------------------------------------


class Text(Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str


class Template(Struct, frozen=True, tag="template"):
    """A call of a variant's template, stored un-rendered so that another variant can render it anew."""

    name: str
    arguments: dict[str, Any]


class RawText(Struct, frozen=True, tag="raw_text"):
    """Text that passes by templates and schemas."""

    value: str


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """A model's wish to call a tool. ``arguments`` is the model's own JSON text, perhaps not valid JSON."""

    id: str
    name: str
    arguments: str


class CheckedToolCall(Struct, frozen=True, tag="tool_call"):
    """A tool call held against the tools on offer: ``name`` / ``arguments`` are null where it does not fit."""

    id: str
    raw_name: str
    raw_arguments: str
    name: str | None = None
    arguments: Any = None


class ToolResult(Struct, frozen=True, tag="tool_result"):
    """What a tool answered."""

    id: str
    name: str
    result: str


class Thought(Struct, frozen=True, tag="thought", omit_defaults=True):
    """A model's reasoning, sent back only to providers of the same ``provider_type``."""

    text: str | None
    signature: str | None = None
    summary: list[dict[str, str]] | None = None
    provider_type: str | None = None
    extra_data: Any = None


class Unknown(Struct, frozen=True, tag="unknown", omit_defaults=True):
    """A part of a provider's dialect that has no neutral form; kept verbatim."""

    data: Any
    model_name: str | None = None
    provider_name: str | None = None


Block: TypeAlias = Text | ToolCall | ToolResult | Thought | File | Unknown
InputBlock: TypeAlias = Text | Template | RawText | ToolCall | ToolResult | Thought | File | Unknown
ContentBlock: TypeAlias = Text | CheckedToolCall | Thought | Unknown


class Message(Struct, frozen=True):
    """One rendered turn, as a provider sees it."""

    role: Role
    content: tuple[Block, ...]


class InputMessage(Struct, frozen=True):
    """One turn as the caller wrote it, templates un-rendered."""

    role: Role
    content: tuple[InputBlock, ...]


def has_block(messages: Sequence[Message] | Sequence[InputMessage], kinds: type | tuple[type, ...]) -> bool:
    """Whether there is a block of one of these types. A loop, as every request comes by here more than once."""
    for message in messages:
        for block in message.content:
            if isinstance(block, kinds):
                return True
    return False


class Input(Struct, frozen=True, omit_defaults=True):
    """What a function is given. Its JSON form is the ``StoredInput`` of the data model."""

    messages: tuple[InputMessage, ...] = ()
    system: str | dict[str, Any] | None = None


class JsonOutput(Struct, frozen=True):
    """A json function's answer; ``parsed`` is null unless ``raw`` parses and satisfies the schema."""

    raw: str | None
    parsed: Any = None


Output: TypeAlias = tuple[ContentBlock, ...] | JsonOutput

# -- tools and parameters ---------------------------------------------------------------------------------


class Tool(Struct, frozen=True):
    """A function tool as the model is told of it; ``parameters`` is a JSON Schema."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = False


class CustomTool(Struct, frozen=True, omit_defaults=True):
    """An OpenAI custom tool: its calls carry free text, or text of a grammar, instead of JSON."""

    name: str
    description: str | None = None
    format: dict[str, Any] | None = None


class ToolScope(Struct, frozen=True, omit_defaults=True):
    """The model, and perhaps the one provider of it, that a provider tool is for."""

    model_name: str
    provider_name: str | None = None


class ProviderTool(Struct, frozen=True, omit_defaults=True):
    """A tool of the upstream's own, in its dialect; without ``scope`` for every provider."""

    tool: dict[str, Any]
    scope: ToolScope | None = None


class Specific(Struct, frozen=True):
    """The choice of exactly one tool, by the name the model knows."""

    specific: str


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | Specific


class ToolConfig(Struct, frozen=True, omit_defaults=True):
    """The tools of one inference.

    ``allowed`` (names the model knows) is None unless the caller gave an explicit list; ``tools`` then still holds
    all, for providers that can be told of both, and ``offered`` the ones that may be called.
    """

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = "auto"
    parallel: bool | None = None
    allowed: tuple[str, ...] | None = None
    custom: tuple[CustomTool, ...] = ()
    provider_tools: tuple[ProviderTool, ...] = ()

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The function tools that the model may call."""
        if self.allowed is None:
            return self.tools
        return tuple(tool for tool in self.tools if tool.name in self.allowed)


class Params(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Sampling parameters. None means: not said here, ask the next one (request, then variant, then provider).

    ``implicit_tool``, the old name of the JSON mode ``tool``, becomes the latter.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] | None = None
    reasoning_effort: str | None = None
    service_tier: ServiceTier | None = None
    thinking_budget_tokens: int | None = None
    verbosity: str | None = None
    json_mode: JsonMode | None = None

    def __post_init__(self) -> None:
        if self.json_mode == "implicit_tool":
            structs.force_setattr(self, "json_mode", "tool")

    def over(self, defaults: Params) -> Params:
        """These parameters, and ``defaults`` where nothing is said here."""
        said = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return structs.replace(defaults, **said) if said else defaults


class CacheOptions(Struct, frozen=True, omit_defaults=True):
    """Whether a model call may be answered from the cache (no older than ``max_age_s``), or be kept in it."""

    enabled: CacheMode = "off"
    max_age_s: int | None = None

    @property
    def reads(self) -> bool:
        """Whether to look there first."""
        return self.enabled in ("on", "read_only")

    @property
    def writes(self) -> bool:
        """Whether to keep the answer."""
        return self.enabled in ("on", "write_only")


# -- a model's call ---------------------------------------------------------------------------------------


class Caller(Struct, frozen=True):
    """Who asks, as far as limits look at it: the tags of the inference, and the API key that was checked."""

    tags: Mapping[str, str] = {}
    api_key_public_id: str | None = None


class ModelRequest(Struct, frozen=True, kw_only=True):
    """What a provider is asked, in no dialect. ``json_mode`` here is already resolved (never ``tool``).

    ``extra`` is for ``extras.apply_body`` and ``extras.apply_headers``: a provider gets the entries that concern it,
    all in order. Before that, ``extra`` is the request's and ``variant_extra`` the variant's, as the configuration of
    a provider has its place between them. ``discriminator`` keeps equal calls of one inference apart in the cache.
    """

    messages: tuple[Message, ...]
    system: str | None = None
    params: Params = Params()
    tools: ToolConfig | None = None
    json_mode: Literal["off", "on", "strict"] = "off"
    output_schema: Any = None
    function_type: FunctionType = "chat"
    credentials: Mapping[str, str] = {}
    variant_extra: Extra = Extra()
    extra: Extra = Extra()
    cache: CacheOptions = CacheOptions()
    discriminator: str = ""
    caller: Caller = Caller()


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens of one provider call; None means the provider did not say. Cost is in dollars."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    provider_cache_read_input_tokens: int | None = None
    provider_cache_write_input_tokens: int | None = None
    cost: Decimal | None = None


class ModelResponse(Struct, frozen=True, kw_only=True):
    """A provider's whole answer, with the bytes that went out and came in (as text) for the record.

    ``raw_usage`` is the upstream's own account of tokens, as it wrote it.
    """

    output: tuple[Block, ...]
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    raw_usage: Any = UNSET
    raw_request: str = ""
    raw_response: str = ""


class TextDelta(Struct, frozen=True, tag="text"):
    """More text of the block ``id``."""

    id: str
    text: str


class ToolCallDelta(Struct, frozen=True, tag="tool_call"):
    """More of the tool call ``id``; ``raw_name`` normally comes in its first piece only."""

    id: str
    raw_name: str | None
    raw_arguments: str


class ThoughtDelta(Struct, frozen=True, tag="thought"):
    """More of the thought ``id``; nulls are written out, as clients expect."""

    id: str
    text: str | None = None
    signature: str | None = None
    summary_id: str | None = None
    summary_text: str | None = None
    provider_type: str | UnsetType = UNSET
    extra_data: Any = UNSET


class UnknownDelta(Struct, frozen=True, tag="unknown", omit_defaults=True):
    """A streamed part without a neutral form."""

    id: str
    data: Any
    model_name: str | None = None
    provider_name: str | None = None


Delta: TypeAlias = TextDelta | ToolCallDelta | ThoughtDelta | UnknownDelta


class Chunk(Struct, frozen=True, kw_only=True):
    """One piece of a streamed answer. ``raw`` is the upstream's event; the first chunk carries ``raw_request``.

    ``error`` says that this event could not be read, while the stream goes on; what ends it is raised instead.
    """

    content: tuple[Delta, ...] = ()
    error: str | None = None
    usage: Usage | None = None
    raw_usage: Any = UNSET
    finish_reason: FinishReason | None = None
    raw: str = ""
    raw_request: str | None = None


# A text, a list of texts, or the same as token ids (a list of ints, or of lists of ints); never mixed.
EmbeddingInput: TypeAlias = str | list[str | int | list[int]]


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """Texts (or token ids) to embed; the answer has one vector per input, in order."""

    input: EmbeddingInput
    dimensions: int | None = None
    credentials: Mapping[str, str] = {}
    extra: Extra = Extra()
    cache: CacheOptions = CacheOptions()
    caller: Caller = Caller()


class EmbeddingResponse(Struct, frozen=True, kw_only=True):
    """One vector per input, in order."""

    embeddings: tuple[tuple[float, ...], ...]
    usage: Usage = Usage()
    raw_usage: Any = UNSET
    raw_request: str = ""
    raw_response: str = ""
