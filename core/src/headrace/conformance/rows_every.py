"""What every store keeps or refuses: all kinds of records, bare and full, and what careless stores get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import structs

from ..extras import ExtraBody
from ..records import Record
from ..types import Input, InputMessage, JsonOutput, Message, Params, Text, ToolResult
from .batches import INFERENCES, REQUESTS, batch_inference, batch_request
from .rows import (
    CHAT,
    FILES,
    INPUT,
    NESTED,
    SCHEMA,
    TEXT,
    TOOLS,
    api_key,
    at,
    boolean,
    comment,
    datapoint,
    demonstration,
    evaluation_run,
    example,
    holdout_access,
    human_feedback,
    inference,
    model_inference,
    number,
    snapshot,
    uid,
    workflow_episode,
    workflow_run,
)

# Every kind, with all fields said and with none that has a default.
EVERY: Mapping[str, Record] = {
    "inference": inference(1),
    "inference-full": inference(
        1,
        function_name=TEXT,
        variant_name=TEXT,
        episode_id=uid(0),
        input=INPUT,
        output=CHAT,
        variant_probability=0.1,
        tools=TOOLS,
        auxiliary_content=CHAT,
        inference_params=Params(temperature=0.1, seed=2**53 + 1, stop_sequences=("\n", TEXT), json_mode="tool"),
        processing_time_ms=2**40,
        ttft_ms=0,
        tags={TEXT: TEXT, "": ""},
    ),
    "inference-files": inference(1, input=Input((InputMessage("user", FILES),))),
    "inference-json": inference(
        1, function_type="json", output=JsonOutput('{"a":1}', {"a": 1}), output_schema=SCHEMA, tags={"a": "b"}
    ),
    "inference-json-no-schema-match": inference(1, function_type="json", output=JsonOutput("{", None)),
    "inference-json-no-answer": inference(1, function_type="json", output=JsonOutput(None), output_schema={}),
    "inference-expired": inference(1, input=None, output=None),
    "inference-edges": inference(
        1,
        variant_probability=5e-324,
        extra_body=(
            ExtraBody(pointer="/a", value=NESTED, model_name=TEXT),
            ExtraBody(pointer="/b", value=None),
            ExtraBody(pointer="/c", delete=True),
        ),
        processing_time_ms=2**63 - 1,
        ttft_ms=-(2**63),
    ),
    "inference-json-false": inference(1, function_type="json", output=JsonOutput("false", False)),
    "model-inference": model_inference(2, uid(1)),
    "model-inference-full": model_inference(
        2,
        uid(1),
        raw_request='{"a": 1}',
        raw_response=TEXT * 1000,
        system="",
        input_messages=(Message("user", (Text(TEXT), ToolResult("1", "find", TEXT), *FILES)), Message("assistant", ())),
        output=CHAT,
        finish_reason="tool_call",
        input_tokens=2**31,
        output_tokens=0,
        provider_cache_read_input_tokens=1,
        provider_cache_write_input_tokens=2,
        cost=Decimal("0.000000001"),
        price_version=TEXT,
        response_time_ms=3,
        ttft_ms=4,
        cached=True,
        error=TEXT,
    ),
    "model-inference-files": model_inference(2, uid(1), input_messages=(Message("user", FILES),)),
    "model-inference-dear": model_inference(2, uid(1), cost=Decimal("123456789.123456789")),
    "model-inference-cents": model_inference(2, uid(1), cost=Decimal("1.50")),
    "model-inference-for-nothing": model_inference(2, uid(1), cost=Decimal(0)),
    "model-inference-edges": model_inference(2, uid(1), input_tokens=2**63 - 1, output_tokens=2**53 + 1),
    "boolean": structs.replace(boolean(3, uid(1), value=False), tags={"a": TEXT}),
    "float": structs.replace(number(4, uid(1), 0.1), tags={TEXT: "a"}),
    "float-great": number(4, uid(1), -1e300),
    "float-whole": number(4, uid(1), 3.0),
    "float-exact": number(4, uid(1), 0.1 + 0.2),
    "float-small": number(4, uid(1), 5e-324),
    "comment": structs.replace(comment(5, uid(1), TEXT), target_type="episode", tags={"a": "b"}),
    "demonstration": structs.replace(demonstration(6, uid(1), ""), value=CHAT, tags={"a": "b"}),
    "demonstration-json": structs.replace(demonstration(6, uid(1), ""), value=JsonOutput("[1]", [1])),
    "datapoint": datapoint(7),
    "datapoint-full": datapoint(
        7,
        dataset_name=TEXT,
        function_name=TEXT,
        input=INPUT,
        split="validation",
        output=CHAT,
        episode_id=uid(0),
        tools=TOOLS,
        tags={TEXT: TEXT},
        is_custom=True,
        source_inference_id=uid(1),
        name=TEXT,
        staled_at=at(0.000001),
        near_keys=("a", TEXT, ""),
        editor=TEXT,
        replaces=uid(6),
    ),
    "datapoint-json": datapoint(
        7,
        function_type="json",
        output=JsonOutput("null", None),
        output_schema=SCHEMA,
        updated_at=datetime(1970, 1, 1, tzinfo=UTC),
    ),
    "example": example(8, (0.5, -0.25, 3.0), input=TEXT, output=TEXT),
    "snapshot": snapshot(hash=TEXT),
    "snapshot-full": snapshot(last_used=at(0.000001), tags={TEXT: TEXT}),
    "human-feedback": human_feedback(9, uid(7)),
    "human-feedback-false": human_feedback(9, uid(7), value=False),
    "human-feedback-one": human_feedback(9, uid(7), value=1.0),
    "human-feedback-full": human_feedback(
        9, uid(7), metric_name=TEXT, output=TEXT, value=-0.1, evaluator_inference_id=uid(1)
    ),
    "holdout-access": holdout_access(10, dataset_name=TEXT, reader=TEXT, purpose=TEXT, datapoint_count=2**31),
    "evaluation-run": evaluation_run(11),
    "workflow-run": workflow_run(12),
    "workflow-run-full": workflow_run(
        12, variant_pins={TEXT: TEXT}, project_name=TEXT, display_name="", tags={TEXT: TEXT, "": ""}
    ),
    "workflow-episode": workflow_episode(13),
    "workflow-episode-full": workflow_episode(13, variant_pins={"f": "v"}, task_name=TEXT, tags={TEXT: TEXT}),
    "api-key": api_key(14),
    "api-key-full": api_key(
        14,
        organization=TEXT,
        workspace=TEXT,
        description=TEXT,
        created_at=at(0.000001),
        updated_at=at(1),
        disabled_at=at(2),
        expires_at=datetime(2200, 1, 1, tzinfo=UTC),
    ),
    "batch-request": batch_request(15),
    "batch-request-full": structs.replace(REQUESTS["full"], id=uid(15)),
    "batch-inference": batch_inference(16),
    "batch-inference-full": structs.replace(INFERENCES["full"], id=uid(16)),
}

# Names and texts that come back as they were, or are refused whole.
HOSTILE: Mapping[str, str] = {
    "a statement": "'); DROP TABLE inference; --",
    "quotes": "\"'`[]\\",
    "json path": '$."a".b[0]',
    "format": "%s {0} ${x} :id ?1 @id",
    "NUL": "a\x00b",
    "only NUL": "\x00",
    "control characters": "".join(map(chr, range(1, 32))),
    "beyond the basic plane": "\U0010ffff\U0001f468\u200d\U0001f469",
    "not a character": "\uffff\ufdd0",
    "long": "x" * 1_000_000,
}

# Records that no store can write, however often it is asked.
UNWRITABLE: Mapping[str, Record] = {
    "a lone surrogate": comment(2, uid(1), "\ud800"),
    "a lone surrogate inside": inference(2, output=(Text("\udfff"),)),
    "a lone surrogate in a name": inference(2, function_name="\ud800"),
    "a lone surrogate in a tag": inference(2, tags={"\ud800": ""}),
    "not a number": number(2, uid(1), float("nan")),
    "infinity": number(2, uid(1), float("inf")),
    "more than 64 bits": model_inference(2, uid(1), input_tokens=2**63),
    "less than 64 bits": inference(2, ttft_ms=-(2**63) - 1),
    "a cost that is no number": model_inference(2, uid(1), cost=Decimal("NaN")),
    "an instant without a zone": datapoint(2, updated_at=datetime(2026, 1, 1)),
    "more than 32 bits in a vector": example(2, (1e39, 1.0)),
    "not a direction": example(2, (float("nan"), 1.0)),
}
