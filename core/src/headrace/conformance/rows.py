"""Makes records of every kind, bare but for what a test says; their ids sort by the number they were made from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import structs

from ..media import File, StoragePath
from ..records import (
    ApiKey,
    BooleanFeedback,
    CommentFeedback,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    EvaluationRun,
    Example,
    FloatFeedback,
    HoldoutAccess,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    WorkflowEpisode,
    WorkflowRun,
)
from ..types import (
    CheckedToolCall,
    Input,
    InputMessage,
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


def boolean(n: int, target_id: UUID, *, value: bool = True, metric_name: str = "good") -> BooleanFeedback:
    """A yes or no."""
    return BooleanFeedback(id=uid(n), target_id=target_id, metric_name=metric_name, value=value, snapshot_hash=SNAPSHOT)


def number(n: int, target_id: UUID, value: float, *, metric_name: str = "stars") -> FloatFeedback:
    """A number."""
    return FloatFeedback(id=uid(n), target_id=target_id, metric_name=metric_name, value=value, snapshot_hash=SNAPSHOT)


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


def human_feedback(n: int, datapoint_id: UUID, **changes: Any) -> HumanFeedback:
    """A judgement of the output ``[]``."""
    record = HumanFeedback(id=uid(n), metric_name="good", datapoint_id=datapoint_id, output="[]", value=True)
    return structs.replace(record, **changes)


def holdout_access(n: int, **changes: Any) -> HoldoutAccess:
    """Somebody has read one datapoint."""
    record = HoldoutAccess(
        id=uid(n), dataset_name="d", reader="me", purpose="to see", datapoint_count=1, snapshot_hash=SNAPSHOT
    )
    return structs.replace(record, **changes)


def workflow_run(n: int, **changes: Any) -> WorkflowRun:
    """A run that pins nothing."""
    return structs.replace(WorkflowRun(id=uid(n), variant_pins={}, snapshot_hash=SNAPSHOT), **changes)


def workflow_episode(n: int, **changes: Any) -> WorkflowEpisode:
    """An episode of the run 1."""
    record = WorkflowEpisode(id=uid(n), run_id=uid(1), variant_pins={}, snapshot_hash=SNAPSHOT)
    return structs.replace(record, **changes)


def api_key(n: int, **changes: Any) -> ApiKey:
    """A key that stands."""
    record = ApiKey(id=uid(n), public_id=f"key{n:09}", hash="0" * 64, created_at=START, updated_at=START)
    return structs.replace(record, **changes)
