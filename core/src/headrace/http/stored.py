"""Stored inferences as callers are shown them (datasets-and-queries 3, data-model 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ..datasets import OutputSource
from ..functions import Function
from ..media import File
from ..records import DemonstrationFeedback, InferenceRecord, ModelInferenceRecord
from ..types import Input, InputBlock
from .shown_tools import shown_tools

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
# A file of which only the URL was kept. Clients insist on these two.
_NOWHERE = {"mime_type": "application/octet-stream", "storage_path": {"kind": {"type": "disabled"}, "path": ""}}


def instant(id_: UUID) -> datetime:
    """When a UUIDv7 says that it was made, in whole milliseconds; the last instant there is, if that is beyond."""
    try:
        return _EPOCH + timedelta(milliseconds=id_.int >> 80)
    except OverflowError:
        return _LATEST


def stored_inference(
    record: InferenceRecord,
    functions: Mapping[str, Function],
    source: OutputSource = "inference",
    demonstration: DemonstrationFeedback | None = None,
) -> dict[str, Any]:
    """The wire form. Input and output are left out once their retention has ended.

    With a ``demonstration`` that is the output, and the one that was given is ``dispreferred_outputs``.
    """
    body: dict[str, Any] = {
        "type": record.function_type,
        "function_name": record.function_name,
        "variant_name": record.variant_name,
        "timestamp": instant(record.id),
        "episode_id": record.episode_id,
        "inference_id": record.id,
        "dispreferred_outputs": [],
        "tags": record.tags,
        "extra_body": record.extra_body,
        "inference_params": {"chat_completion": record.inference_params},
        "processing_time_ms": record.processing_time_ms,
        "ttft_ms": record.ttft_ms,
        "snapshot_hash": hexadecimal(record.snapshot_hash),
    }
    if record.input is not None:
        body["input"] = stored_input(record.input)
    if demonstration is not None:
        body["output"] = demonstration.value
        body["dispreferred_outputs"] = [] if record.output is None else [record.output]
    elif source != "none" and record.output is not None:
        body["output"] = record.output
    if record.function_type == "json":
        return body | {"output_schema": record.output_schema}
    tools = shown_tools(functions.get(record.function_name), record.tools) if record.tools is not None else {}
    return body | tools


def stored_input(input_: Input) -> dict[str, Any]:
    """The ``StoredInput`` of the data model, with ``messages`` even if there are none."""
    messages = [
        {"role": message.role, "content": [_block(block) for block in message.content]} for message in input_.messages
    ]
    return {"messages": messages} if input_.system is None else {"messages": messages, "system": input_.system}


def inference_metadata(record: InferenceRecord) -> dict[str, Any]:
    """Of which function, variant and episode it is."""
    return {
        "id": record.id,
        "function_name": record.function_name,
        "variant_name": record.variant_name,
        "episode_id": record.episode_id,
        "function_type": record.function_type,
        "snapshot_hash": record.snapshot_hash,
    }


def model_inference(record: ModelInferenceRecord) -> dict[str, Any]:
    """One attempt at a provider; what is not known is left out. ``error`` is there if it failed."""
    body = {name: value for name in record.__struct_fields__ if (value := getattr(record, name)) is not None}
    return body | {"timestamp": instant(record.id)}


def hexadecimal(hash_: str) -> str:
    """A hash that records hold in decimal, as stored inferences are said to show it."""
    return f"{int(hash_):x}" if hash_.isascii() and hash_.isdecimal() else hash_


def _block(block: InputBlock) -> Any:
    if not isinstance(block, File):
        return block
    body: dict[str, Any] = msgspec.to_builtins(block)
    return _NOWHERE | body
