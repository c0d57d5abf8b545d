"""Sample records, one full and one bare of every kind, whose ids sort by the number they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec import structs

from ..media import File, StoragePath
from ..records import (
    BooleanFeedback,
    CommentFeedback,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    EvaluationRun,
    Example,
    FloatFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from ..types import (
    CheckedToolCall,
    Input,
    InputMessage,
    JsonOutput,
    Message,
    Params,
    RawText,
    Specific,
    Template,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolConfig,
    ToolResult,
    Unknown,
)

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SNAPSHOT = str(2**255 + 7)  # a 256-bit number in decimal, as hashes of configurations are

# What a model or a user may write and a careless store would cut, quote, fold or run.
TEXT = "Zoë 😀 e\u0301 \u202e 'quoted' \"double\" \\ % _ -- ; $1 ? :x {{ }} \r\n\t\x01\x7f\u2028\ufeff end "
NESTED: dict[str, Any] = {
    "text": TEXT,
    "": [],
    "deep": [{"a": [1, -1, 0.1, 1.0, 1e300, True, False, None, "1", {"b": {}}]}],
    "big": 2**64 - 1,
    "small": -(2**63),
    "'; DROP TABLE inference; --": "x",
}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"größe": {"type": "number"}}, "required": []}
TOOLS = ToolConfig(
    (Tool("find", TEXT, SCHEMA, strict=True), Tool("find_2", "", {})),
    Specific("find"),
    parallel=False,
    allowed=("find",),
)
# As records hold files: without their bytes.
STORED_FILE = File(
    "image/png",
    None,
    "https://example.com/a%20b.png?x=1&y=\u00e9",
    StoragePath({"type": "s3_compatible", "bucket_name": "größe", "endpoint": None, "allow_http": False}, TEXT),
    "high",
    TEXT,
)
FILES = (STORED_FILE, File("audio/mpeg", storage_path=StoragePath({}, "observability/files/1")), File())
INPUT = Input(
    messages=(
        InputMessage("user", (Text(TEXT), Template("user", NESTED), RawText("raw"))),
        InputMessage("assistant", (ToolCall("1", "find", '{"not json'), Thought("hm", signature="s"))),
        InputMessage("user", (ToolResult("1", "find", TEXT), Unknown(NESTED, "model", "provider"))),
        InputMessage("user", FILES),
        InputMessage("assistant", ()),
    ),
    system={"who": TEXT},
)
CHAT = (
    Text(TEXT),
    CheckedToolCall("1", "find", '{"größe": 1}', "find", NESTED),
    CheckedToolCall("2", "lost", "{", None, None),
    Thought(None, "sig", [{"type": "summary_text", "text": "so"}], "openai", NESTED),
    Unknown({"type": "image"}),
)


def uid(n: int) -> UUID:
    """The UUIDv7 of ``n`` milliseconds after START; its low bits count the other way, so only time sorts it."""
    ms = int(START.timestamp() * 1000) + n
    return UUID(int=ms << 80 | 7 << 76 | 0b10 << 62 | (2**32 - n))


def at(seconds: float) -> datetime:
    """That much after START."""
    return START + timedelta(seconds=seconds)


def inference(n: int, **changes: Any) -> InferenceRecord:
    """A chat inference in an episode of its own."""
    record = InferenceRecord(
        id=uid(n),
        function_name="f",
        variant_name="v",
        function_type="chat",
        episode_id=uid(n),
        input=Input(),
        output=(),
        variant_probability=1.0,
        snapshot_hash=SNAPSHOT,
    )
    return structs.replace(record, **changes)


def model_inference(n: int, inference_id: UUID, **changes: Any) -> ModelInferenceRecord:
    """An attempt at a provider."""
    record = ModelInferenceRecord(
        id=uid(n),
        inference_id=inference_id,
        function_name="f",
        variant_name="v",
        model_name="m",
        model_provider_name="p",
        snapshot_hash=SNAPSHOT,
    )
    return structs.replace(record, **changes)


def boolean(n: int, target_id: UUID, *, value: bool = True) -> BooleanFeedback:
    """A yes or no."""
    return BooleanFeedback(id=uid(n), target_id=target_id, metric_name="good", value=value, snapshot_hash=SNAPSHOT)


def number(n: int, target_id: UUID, value: float) -> FloatFeedback:
    """A number."""
    return FloatFeedback(id=uid(n), target_id=target_id, metric_name="stars", value=value, snapshot_hash=SNAPSHOT)


def comment(n: int, target_id: UUID, value: str) -> CommentFeedback:
    """Free text about an inference."""
    return CommentFeedback(id=uid(n), target_id=target_id, target_type="inference", value=value, snapshot_hash=SNAPSHOT)


def demonstration(n: int, inference_id: UUID, text: str) -> DemonstrationFeedback:
    """A better output."""
    return DemonstrationFeedback(id=uid(n), inference_id=inference_id, value=(Text(text),), snapshot_hash=SNAPSHOT)


def datapoint(n: int, **changes: Any) -> Datapoint:
    """A chat datapoint, updated ``n`` seconds after START."""
    record = Datapoint(
        id=uid(n),
        dataset_name="d",
        function_name="f",
        function_type="chat",
        input=Input(),
        split="train",
        group=f"group {n}",
        content_key=f"key {n}",
        updated_at=at(n),
        snapshot_hash=SNAPSHOT,
    )
    return structs.replace(record, **changes)


def example(n: int, embedding: tuple[float, ...], **changes: Any) -> Example:
    """An example of ``f``'s variant ``v``. Numbers that a 32-bit float holds come back as they were."""
    record = Example(id=uid(n), function_name="f", variant_name="v", input="{}", output="[]", embedding=embedding)
    return structs.replace(record, **changes)


def snapshot(**changes: Any) -> ConfigSnapshot:
    """A configuration."""
    record = ConfigSnapshot(
        hash=SNAPSHOT, config=TEXT, extra_templates={TEXT: TEXT}, headrace_version="0.1.0", created_at=START
    )
    return structs.replace(record, **changes)


def evaluation_run(n: int) -> EvaluationRun:
    """A run over a dataset."""
    return EvaluationRun(
        id=uid(n),
        evaluation_name="e",
        function_name="f",
        function_type="json",
        dataset_name="d",
        split="test",
        variant_names=["v", TEXT],
        metrics=["good"],
        snapshot_hash=SNAPSHOT,
        created_at=START,
    )


# Every kind that a contract's method reads back, with all fields said and with none that has a default.
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
        response_time_ms=3,
        ttft_ms=4,
        cached=True,
        error=TEXT,
    ),
    "model-inference-files": model_inference(2, uid(1), input_messages=(Message("user", FILES),)),
    "model-inference-dear": model_inference(2, uid(1), cost=Decimal("123456789.123456789")),
    "boolean": structs.replace(boolean(3, uid(1), value=False), tags={"a": TEXT}),
    "float": structs.replace(number(4, uid(1), 0.1), tags={TEXT: "a"}),
    "float-whole": number(4, uid(1), -1e300),
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
}

# Names and texts that come back as they were, or are refused whole.
HOSTILE = {
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
UNWRITABLE = {
    "a lone surrogate": comment(2, uid(1), "\ud800"),
    "a lone surrogate inside": inference(2, output=(Text("\udfff"),)),
    "a lone surrogate in a name": inference(2, function_name="\ud800"),
    "a lone surrogate in a tag": inference(2, tags={"\ud800": ""}),
    "not a number": number(2, uid(1), float("nan")),
    "infinity": number(2, uid(1), float("inf")),
    "not a direction": example(2, (float("nan"), 1.0)),
}
