"""What comes out of a batch: an answer to the records of its inference, and these to what a caller sees."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ..costs import Rates
from ..exchange import InferenceResponse
from ..functions import json_output
from ..ids import unix_seconds
from ..records import BatchInference, InferenceRecord, ModelInferenceRecord, Record
from ..schemas import compiled
from ..tools import check
from ..types import Block, JsonOutput, ModelResponse, Output, Usage


def finished(row: BatchInference, response: ModelResponse, rates: Rates) -> list[Record]:
    """The records of an inference that has its answer, at the prices of when it was asked for."""
    output, auxiliary = _read(row, response.output)
    usage, price_version = rates.priced(response, unix_seconds(row.id), is_batch=True)
    inference = InferenceRecord(
        id=row.id,
        function_name=row.function_name,
        variant_name=row.variant_name,
        function_type=row.function_type,
        episode_id=row.episode_id,
        input=row.input,
        output=output,
        variant_probability=row.variant_probability,
        snapshot_hash=row.snapshot_hash,
        tools=row.tools,
        output_schema=row.output_schema,
        auxiliary_content=check(auxiliary, None),
        inference_params=row.inference_params,
        tags=row.tags,
    )
    attempt = ModelInferenceRecord(
        id=row.model_inference_id,
        inference_id=row.id,
        function_name=row.function_name,
        variant_name=row.variant_name,
        model_name=row.model_name,
        model_provider_name=row.model_provider_name,
        snapshot_hash=row.snapshot_hash,
        raw_request=response.raw_request or row.raw_request,
        raw_response=response.raw_response,
        system=row.system,
        input_messages=row.input_messages,
        output=check(response.output, row.tools),
        finish_reason=response.finish_reason,
        price_version=price_version,
        **structs.asdict(usage),
    )
    return [inference, attempt]


def _read(row: BatchInference, blocks: tuple[Block, ...]) -> tuple[Output, tuple[Block, ...]]:
    if row.function_type != "json":
        return check(blocks, row.tools), ()
    try:
        return json_output(blocks, compiled(row.output_schema) if row.output_schema is not None else None)
    except ValueError:  # what the request sent as a schema is none, so nothing satisfies it (http-api 10)
        output, rest = json_output(blocks, None)
        return JsonOutput(output.raw), rest


def answer_of(record: InferenceRecord, attempts: Sequence[ModelInferenceRecord]) -> InferenceResponse:
    """An inference of a batch as its caller sees it, from what is stored; each has one attempt."""
    attempt = attempts[-1] if attempts else None
    usage = Usage(**{name: getattr(attempt, name) for name in Usage.__struct_fields__}) if attempt else Usage()
    return InferenceResponse(
        inference_id=record.id,
        episode_id=record.episode_id,
        variant_name=record.variant_name,
        output=record.output or (),  # gone once its retention has ended
        usage=usage,
        finish_reason=attempt.finish_reason if attempt else None,
    )
