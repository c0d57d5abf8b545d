"""Inferences, single ones and those of batches, as records of ours, and what their rows share with datapoints."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from ..extras import ExtraBody
from ..records import (
    BatchInference,
    BatchRequest,
    InferenceRecord,
    ModelInferenceRecord,
)
from ..types import JsonOutput, Output, Params, ToolConfig
from .blocks import Unmappable, blocks_of, input_of, json_output_of, messages_of, parsed, scope_of
from .tables import Row
from .tooling import Snapshots, tools_of
from .values import (
    derived_id,
    hash_of,
    json_or_none,
    number,
    tags_of,
    uuid_of,
)

# Nobody wrote down how probable a variant was; a number would make estimates of it that look like knowledge.
_PROBABILITY: Final = None
_PARAMS: Final = frozenset(Params.__struct_fields__)


class Reading:
    """What rows are read with: old configurations and today's, and where to note what of a row stays behind."""

    def __init__(self, config: str, note: Callable[[str], None]) -> None:
        self.snapshots = Snapshots(config)
        self.note = note


# -- inferences ---------------------------------------------------------------------------------------------


def _inference(row: Row, reading: Reading, **own: Any) -> InferenceRecord:
    function_type = own["function_type"]
    has_payload = row.get("input") is not None
    return InferenceRecord(
        id=uuid_of(row["id"]),
        function_name=row["function_name"],
        variant_name=row["variant_name"],
        episode_id=uuid_of(row["episode_id"]),
        input=input_of(row["input"]) if has_payload else None,
        output=output_as(row.get("output"), function_type) if has_payload else None,
        variant_probability=_PROBABILITY,
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        inference_params=_params(row, reading),
        extra_body=_extra_body(row),
        processing_time_ms=number(row, "processing_time_ms"),
        ttft_ms=number(row, "ttft_ms"),
        tags=tags_of(row),
        **own,
    )


def chat_inference(row: Row, reading: Reading) -> InferenceRecord:
    """An answered call of a chat function."""
    return _inference(row, reading, function_type="chat", tools=tools_in(row, reading))


def json_inference(row: Row, reading: Reading) -> InferenceRecord:
    """An answered call of a json function."""
    return _inference(
        row,
        reading,
        function_type="json",
        output_schema=json_or_none(row, "output_schema"),
        auxiliary_content=blocks_of(row.get("auxiliary_content")),
    )


def model_inference(row: Row, reading: Reading) -> ModelInferenceRecord:
    """A call of a provider. Whose it is may be known of its inference alone."""
    cost = row.get("cost")
    return ModelInferenceRecord(
        id=uuid_of(row["id"]),
        inference_id=uuid_of(row["inference_id"]),
        function_name=row.get("function_name") or "",
        variant_name=row.get("variant_name") or "",
        model_name=row["model_name"],
        model_provider_name=row["model_provider_name"],
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        raw_request=row.get("raw_request") or "",
        raw_response=row.get("raw_response") or "",
        system=row.get("system"),
        input_messages=messages_of(row.get("input_messages")),
        output=blocks_of(row.get("output")),
        finish_reason=row.get("finish_reason") or None,
        input_tokens=number(row, "input_tokens"),
        output_tokens=number(row, "output_tokens"),
        provider_cache_read_input_tokens=number(row, "provider_cache_read_input_tokens"),
        provider_cache_write_input_tokens=number(row, "provider_cache_write_input_tokens"),
        cost=None if cost is None else Decimal(cost),
        response_time_ms=number(row, "response_time_ms"),
        ttft_ms=number(row, "ttft_ms"),
        cached=bool(row.get("cached")),
    )


# -- batches ------------------------------------------------------------------------------------------------


def batch_request(row: Row, _: Reading) -> BatchRequest:
    """How a batch stood."""
    if row["status"] not in ("pending", "completed", "failed"):
        raise Unmappable(f"status: {str(row['status'])[:40]!r}")
    errors = parsed(row.get("errors") or "[]")
    return BatchRequest(
        id=uuid_of(row["id"]),
        batch_id=uuid_of(row["batch_id"]),
        status=row["status"],
        batch_params=msgspec.convert(parsed(row["batch_params"]), dict[str, Any]),
        function_name=row["function_name"],
        variant_name=row["variant_name"],
        model_name=row["model_name"],
        model_provider_name=row["model_provider_name"],
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        raw_request=row.get("raw_request") or "",
        raw_response=row.get("raw_response") or "",
        errors=tuple(each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in errors),
    )


def batch_inference(row: Row, reading: Reading) -> BatchInference:
    """One inference of a batch, whose function type shows in its schema alone."""
    if row.get("input") is None:
        raise Unmappable("its input has expired")
    id_, schema = uuid_of(row["inference_id"]), json_or_none(row, "output_schema")
    return BatchInference(
        id=id_,
        batch_id=uuid_of(row["batch_id"]),
        model_inference_id=derived_id(id_.int >> 80, f"model inference of {id_}"),
        function_name=row["function_name"],
        variant_name=row["variant_name"],
        function_type="chat" if schema is None else "json",
        episode_id=uuid_of(row["episode_id"]),
        input=input_of(row["input"]),
        variant_probability=_PROBABILITY,
        model_name=row["model_name"],
        model_provider_name=row["model_provider_name"],
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        system=row.get("system"),
        input_messages=messages_of(row.get("input_messages")),
        tools=tools_in(row, reading) if schema is None else None,
        output_schema=schema,
        inference_params=_params(row, reading),
        raw_request=row.get("raw_request") or "",
        tags=tags_of(row),
    )


# -- parts --------------------------------------------------------------------------------------------------


def output_as(value: Any, function_type: str) -> Output:
    """The answer of a function of this type."""
    output: JsonOutput | tuple[Any, ...] = json_output_of(value) if function_type == "json" else blocks_of(value)
    return output


def tools_in(row: Row, reading: Reading) -> ToolConfig | None:
    """The tools of a chat row."""
    return tools_of(row, hash_of(row.get("snapshot_hash")), reading.snapshots, reading.note)


def _params(row: Row, reading: Reading) -> Params:
    said = parsed(row.get("inference_params") or "{}") or {}
    given = {name: value for name, value in (said.get("chat_completion") or {}).items() if value is not None}
    for name in sorted(set(given) - _PARAMS):
        reading.note(f"inference_params: `{str(name)[:40]}` has no place here")
    return msgspec.convert({name: given[name] for name in given if name in _PARAMS}, Params)


def _extra_body(row: Row) -> tuple[ExtraBody, ...]:
    entries = parsed(row.get("extra_body") or "[]")
    kept = ("pointer", "value", "delete", "variant_name")
    return tuple(
        msgspec.convert({**{name: each[name] for name in kept if name in each}, **scope_of(each)}, ExtraBody)
        for each in entries
    )
