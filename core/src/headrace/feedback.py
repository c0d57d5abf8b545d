"""What is said of an inference or episode: checked against the metric and the target, then recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from uuid import UUID

import anyio
import msgspec
from msgspec import Struct, structs

from .contracts import Clock, InferenceQuery, Store
from .errors import BadRequest, NotFound, StoreError
from .filters import Level
from .functions import parse_output
from .ids import new_id, unix_seconds
from .recorder import Recorder
from .records import (
    BooleanFeedback,
    CommentFeedback,
    DemonstrationFeedback,
    Feedback,
    FloatFeedback,
    HumanFeedback,
    InferenceRecord,
    Record,
)
from .schemas import compiled
from .tags import API_KEY, accepted, canonical
from .telemetry import Telemetry
from .types import CheckedToolCall, ContentBlock, JsonOutput, Text

# What a human said of an evaluator's judgement must name the judgement (http-api 18).
_DATAPOINT = "tensorzero::datapoint_id"
_OF_HUMANS = {_DATAPOINT, "tensorzero::human_feedback"}
_EVALUATOR = "tensorzero::evaluator_inference_id"

_GREATEST = 1e150  # squares of values are summed, and must stay within a 64-bit float

_POLL_S = 2.0
_LAG_S = 6.0
_PATIENCE_S = 1.0


class Metric(Struct, frozen=True):
    """A configured metric: what its values are, what they are about, and which are good (True is the greater one)."""

    type: Literal["boolean", "float"]
    level: Level
    optimize: Literal["min", "max"] = "max"


class FeedbackRequest(Struct, frozen=True, kw_only=True):
    """One piece of feedback as it was sent; ``value`` is any JSON until the metric is known."""

    metric_name: str
    value: Any
    inference_id: UUID | None = None
    episode_id: UUID | None = None
    tags: Mapping[str, str] = {}
    dryrun: bool = False
    internal: bool = False
    api_key_public_id: str | None = None


class _TextValue(Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    text: str


class _ToolCallValue(Struct, frozen=True, tag="tool_call", forbid_unknown_fields=True):
    id: str
    name: str
    arguments: Any


_Blocks: TypeAlias = list[_TextValue | _ToolCallValue]


class FeedbackDesk:
    """Takes feedback in. ``validate_targets`` False skips the look-up, except for demonstrations, which need it."""

    def __init__(
        self,
        *,
        metrics: Mapping[str, Metric],
        store: Store | None,
        recorder: Recorder | None,
        telemetry: Telemetry,
        clock: Clock,
        snapshot_hash: str,
        validate_targets: bool = True,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._recorder = recorder
        self._telemetry = telemetry
        self._clock = clock
        self._snapshot_hash = snapshot_hash
        self._validate_targets = validate_targets

    async def give(self, request: FeedbackRequest) -> UUID:
        """Check and record; returns the feedback's id. Raise BadRequest or NotFound (http-api 18), StoreError."""
        if self._store is None or self._recorder is None:
            raise BadRequest("Feedback needs a store: `gateway.observability.enabled` is false")
        request = structs.replace(request, metric_name=canonical(request.metric_name))
        tags = accepted(request.tags, internal=request.internal)
        if request.api_key_public_id is not None:
            tags[API_KEY] = request.api_key_public_id
        if _OF_HUMANS <= set(tags) and _EVALUATOR not in tags:
            raise BadRequest(f"Invalid tags: `{'` and `'.join(sorted(_OF_HUMANS))}` need `{_EVALUATOR}` beside them")
        common: dict[str, Any] = {
            "id": new_id(),
            "snapshot_hash": self._snapshot_hash,
            "tags": tags,
        }
        row = self._row(request, common)
        self._telemetry.feedback(request.metric_name)
        rows: list[Record] = []
        of_human = set(tags) >= {*_OF_HUMANS, _EVALUATOR} and request.inference_id is not None
        if row is None:
            target = await self._target(request)
            value = demonstrated(request.value, target)
            row = DemonstrationFeedback(inference_id=target.id, value=value, **common)
        elif isinstance(row, BooleanFeedback | FloatFeedback) and of_human:
            rows.append(_of_human(row, await self._target(request)))
        elif self._validate_targets:
            await self._target(request)
        if not request.dryrun:
            await self._recorder.put([row, *rows])
        return row.id

    async def of_human(self, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
        """The latest judgement of this output (its canonical JSON) for this datapoint. Raise BadRequest, no store."""
        if self._store is None:
            raise BadRequest("Feedback needs a store: `gateway.observability.enabled` is false")
        return await self._store.human_feedback(canonical(metric_name), datapoint_id, output)

    def _row(self, request: FeedbackRequest, common: Mapping[str, Any]) -> Feedback | None:
        """The row, if the value and the kind of id fit the metric; None for a demonstration, which needs its target."""
        name, value = request.metric_name, request.value
        if request.inference_id is not None and request.episode_id is not None:
            raise BadRequest("Both episode_id and inference_id cannot be provided")
        if name == "comment":
            target, target_type = _either(request)
            if not isinstance(value, str):
                raise BadRequest("Feedback value for a comment must be a string")
            return CommentFeedback(target_id=target, target_type=target_type, value=value, **common)
        if name == "demonstration":
            _of_level(request, "inference")
            return None
        metric = self._metrics.get(name)
        if metric is None:
            raise NotFound(f"Unknown metric: {name}")
        target = _of_level(request, metric.level)
        if metric.type == "boolean":
            if not isinstance(value, bool):
                raise BadRequest(f"Feedback value for metric `{name}` must be a boolean")
            return BooleanFeedback(target_id=target, metric_name=name, value=value, **common)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadRequest(f"Feedback value for metric `{name}` must be a number")
        return FloatFeedback(target_id=target, metric_name=name, value=_float(name, value), **common)

    async def _target(self, request: FeedbackRequest) -> InferenceRecord:
        """The inference, or the latest of the episode. Waits for one whose row may still be on its way."""
        id_ = request.inference_id or request.episode_id
        if id_ is None or self._store is None or self._recorder is None:
            raise BadRequest("Exactly one of inference_id or episode_id must be provided")
        if id_.version != 7:
            raise BadRequest(f"Failed to parse UUID as v7: {id_}")
        if request.inference_id is not None:
            query = InferenceQuery(ids=(id_,), limit=1)
        else:
            query = InferenceQuery(episode_ids=(id_,), limit=1)
        found = await self._store.inferences(query)
        if not found:
            with anyio.move_on_after(_LAG_S) as patience:
                await self._recorder.flush()
            if patience.cancelled_caught:
                raise StoreError("records wait for the store, perhaps this target among them: try again later")
            found = await self._store.inferences(query)
        # Another worker may hold it in its queue still, so a fresh id is worth a little patience.
        age = max(self._clock.time() - unix_seconds(id_), 0.0)
        deadline = self._clock.perf() + max(_LAG_S - age, _PATIENCE_S)
        while not found:
            if self._clock.perf() >= deadline:
                what = "Inference" if request.inference_id is not None else "Episode"
                raise BadRequest(f"{what} ID: {id_} does not exist")
            await anyio.sleep(_POLL_S)
            found = await self._store.inferences(query)
        return found[0]


def canonical_output(output: Any) -> str:
    """The text under which a human's judgement of an output is found again: JSON, keys sorted at every depth."""
    return msgspec.json.encode(output, order="sorted").decode()


def _of_human(row: BooleanFeedback | FloatFeedback, target: InferenceRecord) -> HumanFeedback:
    """What is remembered of a human's judgement, beside the feedback itself. Raise BadRequest for tags without ids."""
    try:
        datapoint_id, evaluator_id = UUID(row.tags[_DATAPOINT]), UUID(row.tags[_EVALUATOR])
    except ValueError:
        raise BadRequest(f"Invalid tags: `{_DATAPOINT}` and `{_EVALUATOR}` must be UUIDs") from None
    return HumanFeedback(
        id=row.id,
        metric_name=row.metric_name,
        datapoint_id=datapoint_id,
        output=canonical_output(target.output),
        value=row.value,
        evaluator_inference_id=evaluator_id,
    )


def demonstrated(value: Any, target: InferenceRecord) -> tuple[ContentBlock, ...] | JsonOutput:
    """A demonstration as the output it stands for, valid against what is stored with the inference.

    Chat: text, or a list of blocks; json: any JSON that satisfies the schema. Raise BadRequest.
    """
    if target.function_type == "json":
        if target.output_schema is not None:
            compiled(target.output_schema).check(value)
        return parse_output(msgspec.json.encode(value).decode(), None)
    if isinstance(value, str):
        return (Text(value),)
    try:
        blocks = msgspec.convert(value, _Blocks)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Demonstration must be a string or a list of text and tool_call blocks: {error}") from None
    return tuple(_block(block, target) for block in blocks)


def _block(block: _TextValue | _ToolCallValue, target: InferenceRecord) -> ContentBlock:
    if isinstance(block, _TextValue):
        return Text(block.text)
    offered = {tool.name: tool for tool in target.tools.tools} if target.tools else {}
    tool = offered.get(block.name)
    if tool is None:
        raise BadRequest(f"Demonstration contains invalid tool name: {block.name} (offered: {sorted(offered)})")
    compiled(tool.parameters).check(block.arguments)
    arguments = msgspec.json.encode(block.arguments).decode()
    return CheckedToolCall(block.id, block.name, arguments, block.name, block.arguments)


def _float(name: str, value: int | float) -> float:
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if abs(found) > _GREATEST:
        raise BadRequest(f"Feedback value for metric `{name}` must be a number from -{_GREATEST:g} to {_GREATEST:g}")
    return found


def _either(request: FeedbackRequest) -> tuple[UUID, str]:
    if request.inference_id is not None:
        return request.inference_id, "inference"
    if request.episode_id is not None:
        return request.episode_id, "episode"
    raise BadRequest("Exactly one of inference_id or episode_id must be provided")


def _of_level(request: FeedbackRequest, level: str) -> UUID:
    id_ = request.inference_id if level == "inference" else request.episode_id
    if id_ is None:
        raise BadRequest(f'Correct ID was not provided for feedback level "{level}".')
    return id_
