"""What ``POST /batch_inference`` accepts: a list per field, turned into one neutral request per inference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from ..errors import BadRequest
from ..exchange import InferenceRequest
from ..tags import canonical
from ..types import Params, ToolChoice
from .blocks import InputBody, to_input
from .bodies import ProviderToolBody, ToolBody, check_params, to_provider_tools, to_tools

log = logging.getLogger(__name__)

T = TypeVar("T")


class BatchSamplingBody(Struct, forbid_unknown_fields=True):
    """``params.chat_completion``: a list per parameter; null means not said for that inference."""

    temperature: list[float | None] | None = None
    top_p: list[float | None] | None = None
    max_tokens: list[int | None] | None = None
    presence_penalty: list[float | None] | None = None
    frequency_penalty: list[float | None] | None = None
    seed: list[int | None] | None = None
    stop_sequences: list[tuple[str, ...]] | None = None
    reasoning_effort: list[str | None] | None = None
    service_tier: list[Any] | None = None
    thinking_budget_tokens: list[int | None] | None = None
    verbosity: list[str | None] | None = None


class BatchParamsBody(Struct, forbid_unknown_fields=True):
    """``params``: an object per type of variant; there is one."""

    chat_completion: BatchSamplingBody


class BatchBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /batch_inference`` (http-api 19)."""

    function_name: str
    inputs: list[InputBody]
    episode_ids: list[UUID | None] | None = None
    params: BatchParamsBody | None = None
    variant_name: str | None = None
    tags: list[dict[str, str] | None] | None = None
    allowed_tools: list[list[str] | None] | None = None
    additional_tools: list[list[ToolBody] | None] | None = None
    tool_choice: list[ToolChoice | None] | None = None
    parallel_tool_calls: list[bool | None] | None = None
    provider_tools: list[list[ProviderToolBody] | None] | None = None
    output_schemas: list[dict[str, Any] | None] | None = None
    credentials: dict[str, str] | None = None


batch = msgspec.json.Decoder(BatchBody)


def to_requests(body: BatchBody) -> list[InferenceRequest]:
    """One neutral request per input. Raise BadRequest for a list of another length, or what ``/inference`` refuses."""
    if not body.inputs:
        raise BadRequest("No inputs provided")
    columns = _Columns(len(body.inputs))
    params = _params(body.params, columns)
    episode_ids = columns.of("episode_ids", body.episode_ids)
    allowed = columns.of("allowed_tools", body.allowed_tools)
    additional = columns.of("additional_tools", body.additional_tools)
    choices: Sequence[ToolChoice | None] = columns.of("tool_choice", body.tool_choice)
    parallel = columns.of("parallel_tool_calls", body.parallel_tool_calls)
    provider_tools = columns.of("provider_tools", body.provider_tools)
    schemas = columns.of("output_schemas", body.output_schemas)
    tags = body.tags or []  # of any length (http-api 24.22)
    requests = []
    for index, input_ in enumerate(body.inputs):
        tools, custom = to_tools(additional[index], where=f"additional_tools[{index}]")
        requests.append(
            InferenceRequest(
                input=to_input(input_, where=f"inputs[{index}]"),
                function_name=canonical(body.function_name),
                variant_name=body.variant_name,
                episode_id=episode_ids[index],
                params=params[index],
                tags=(tags[index] if index < len(tags) else None) or {},
                allowed_tools=None if (names := allowed[index]) is None else tuple(names),
                additional_tools=tools,
                custom_tools=custom,
                provider_tools=to_provider_tools(provider_tools[index], where=f"provider_tools[{index}]"),
                tool_choice=choices[index],
                parallel_tool_calls=parallel[index],
                output_schema=schemas[index],
                credentials=body.credentials or {},
            )
        )
    return requests


class _Columns:
    """Lists that have to be as long as there are inferences; one that was left out says nothing of each."""

    def __init__(self, length: int) -> None:
        self._length = length

    def of(self, name: str, values: Sequence[T | None] | None) -> Sequence[T | None]:
        if values is None:
            return [None] * self._length
        if len(values) != self._length:
            raise BadRequest(
                f"{name} vector length ({len(values)}) does not match number of inferences ({self._length})"
            )
        return values


def _params(body: BatchParamsBody | None, columns: _Columns) -> list[Params]:
    sampling = body.chat_completion if body is not None else BatchSamplingBody()
    if sampling.service_tier is not None:
        log.warning("`params.chat_completion.service_tier` is ignored in a batch")
    names = [name for name in BatchSamplingBody.__struct_fields__ if name != "service_tier"]
    lists = [columns.of(name, getattr(sampling, name)) for name in names]
    rows = [Params(**dict(zip(names, values, strict=True))) for values in zip(*lists, strict=True)]
    for index, row in enumerate(rows):
        check_params(row, where=f"params.chat_completion[{index}]")
    return rows
