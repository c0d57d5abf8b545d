"""A row of TensorZero's as a record of ours, table by table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..feedback import canonical_output
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
    HumanFeedback,
    Record,
    WorkflowEpisode,
    WorkflowRun,
)
from ..tags import canonical
from .blocks import Unmappable, input_of, output_of, parsed
from .inferences import (
    Reading,
    batch_inference,
    batch_request,
    chat_inference,
    json_inference,
    model_inference,
    output_as,
    tools_in,
)
from .tables import Row
from .values import (
    derived_id,
    hash_of,
    instant_of,
    instant_or_none,
    json_or_none,
    tags_of,
    texts,
    uuid_of,
    uuid_or_none,
)


def record_of(table: str, row: Row, reading: Reading) -> Record:
    """The record. Raise Unmappable, or what ``UNMAPPABLE`` names, if the row has no form here."""
    return _MAPS[table](row, reading)


UNMAPPABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What a row may raise that is not as its table says (Unmappable and msgspec's errors are ValueErrors)."""


def id_of(row: Row, key: str) -> str:
    """The id of a row as messages show it."""
    try:
        value = row[key]
        return str(hash_of(value)) if key == "hash" else str(uuid_of(value))
    except UNMAPPABLE:
        return str(row.get(key, "?"))[:64]


# -- feedback -----------------------------------------------------------------------------------------------


def _common(row: Row) -> dict[str, Any]:
    return {"id": uuid_of(row["id"]), "snapshot_hash": hash_of(row.get("snapshot_hash")), "tags": tags_of(row)}


def _boolean(row: Row, _: Reading) -> BooleanFeedback:
    value = msgspec.convert(row["value"], bool)
    return BooleanFeedback(
        target_id=uuid_of(row["target_id"]), metric_name=canonical(row["metric_name"]), value=value, **_common(row)
    )


def _float(row: Row, _: Reading) -> FloatFeedback:
    value = row["value"]
    # ClickHouse's JSON has null where a number is infinite or none.
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Unmappable("value: not a finite number")
    return FloatFeedback(
        target_id=uuid_of(row["target_id"]),
        metric_name=canonical(row["metric_name"]),
        value=float(value),
        **_common(row),
    )


def _comment(row: Row, _: Reading) -> CommentFeedback:
    return CommentFeedback(
        target_id=uuid_of(row["target_id"]), target_type=row["target_type"], value=row["value"], **_common(row)
    )


def _demonstration(row: Row, _: Reading) -> DemonstrationFeedback:
    return DemonstrationFeedback(
        inference_id=uuid_of(row["inference_id"]), value=output_of(row["value"]), **_common(row)
    )


def _human(row: Row, _: Reading) -> HumanFeedback:
    """The output in our canonical form: under that a judgement is looked up."""
    evaluator = row.get("evaluator_inference_id")
    return HumanFeedback(
        id=uuid_of(row["feedback_id"]),
        metric_name=canonical(row["metric_name"]),
        datapoint_id=uuid_of(row["datapoint_id"]),
        output=canonical_output(output_of(row["output"])),
        value=msgspec.convert(parsed(row["value"]), bool | float),
        evaluator_inference_id=None if evaluator is None else uuid_of(evaluator),
    )


# -- datapoints, examples ------------------------------------------------------------------------------------


def _datapoint(row: Row, **own: Any) -> Datapoint:
    """Without its place, which depends on others."""
    output = row.get("output")
    return Datapoint(
        id=uuid_of(row["id"]),
        dataset_name=row["dataset_name"],
        function_name=row["function_name"],
        input=input_of(row["input"]),
        output=None if output in (None, "") else output_as(output, own["function_type"]),
        split="train",
        group="",
        content_key="",
        updated_at=instant_of(row["updated_at"]),
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        episode_id=uuid_or_none(row, "episode_id"),
        tags=tags_of(row),
        is_custom=bool(row.get("is_custom")),
        source_inference_id=uuid_or_none(row, "source_inference_id"),
        name=row.get("name"),
        staled_at=instant_or_none(row, "staled_at"),
        **own,
    )


def _chat_datapoint(row: Row, reading: Reading) -> Datapoint:
    return _datapoint(row, function_type="chat", tools=tools_in(row, reading))


def _json_datapoint(row: Row, _: Reading) -> Datapoint:
    return _datapoint(row, function_type="json", output_schema=json_or_none(row, "output_schema"))


def _example(row: Row, _: Reading) -> Example:
    embedding = msgspec.convert(parsed(row["embedding"]), tuple[float, ...])
    return Example(
        id=uuid_of(row["id"]),
        function_name=row["function_name"],
        variant_name=row["variant_name"],
        input=row["input"],
        output=row["output"],
        embedding=embedding,
    )


# -- runs ---------------------------------------------------------------------------------------------------


def _workflow_run(row: Row, _: Reading) -> WorkflowRun:
    return WorkflowRun(
        id=uuid_of(row["run_id"]),
        variant_pins=texts(row, "variant_pins"),
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        project_name=row.get("project_name"),
        display_name=row.get("run_display_name"),
        tags=tags_of(row),
    )


def _workflow_episode(row: Row, _: Reading) -> WorkflowEpisode:
    return WorkflowEpisode(
        id=uuid_of(row["episode_id"]),
        run_id=uuid_of(row["run_id"]),
        variant_pins=texts(row, "variant_pins"),
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        task_name=row.get("task_name"),
        tags=tags_of(row),
    )


def _evaluation_run(row: Row, _: Reading) -> EvaluationRun:
    """``split``: there were none, all of the dataset was read."""
    if row["function_type"] not in ("chat", "json"):
        raise Unmappable(f"function_type: {str(row['function_type'])[:40]!r}")
    return EvaluationRun(
        id=uuid_of(row["run_id"]),
        evaluation_name=row["evaluation_name"],
        function_name=row["function_name"],
        function_type=row["function_type"],
        dataset_name=row["dataset_name"],
        split="all",
        variant_names=msgspec.convert(parsed(row["variant_names"]), list[str]),
        metrics=[canonical(each["name"]) for each in parsed(row["metrics"])],
        snapshot_hash=hash_of(row.get("snapshot_hash")),
        created_at=instant_of(row["created_at"]),
    )


# -- configurations, keys -----------------------------------------------------------------------------------


def _snapshot(row: Row, reading: Reading) -> ConfigSnapshot:
    hash_ = hash_of(row["hash"])
    reading.snapshots.add(hash_, row["config"])
    return ConfigSnapshot(
        hash=hash_,
        config=row["config"],
        extra_templates=texts(row, "extra_templates"),
        headrace_version=f"tensorzero {row['tensorzero_version']}",
        created_at=instant_of(row["created_at"]),
        last_used=instant_or_none(row, "last_used"),
        tags=tags_of(row),
    )


def _api_key(row: Row, _: Reading) -> ApiKey:
    """A number there, so here an id that is made of what does not change: the same one each time."""
    public_id, created_at = str(row["public_id"]).strip(), instant_of(row["created_at"])
    return ApiKey(
        id=derived_id(int(created_at.timestamp() * 1000), f"api key {public_id}"),
        public_id=public_id,
        hash=row["hash"],
        created_at=created_at,
        updated_at=instant_of(row["updated_at"]),
        organization=row["organization"],
        workspace=row["workspace"],
        description=row.get("description"),
        disabled_at=instant_or_none(row, "disabled_at"),
        expires_at=instant_or_none(row, "expires_at"),
    )


_MAPS: Final[Mapping[str, Callable[[Row, Reading], Record]]] = {
    "ConfigSnapshot": _snapshot,
    "ChatInference": chat_inference,
    "JsonInference": json_inference,
    "ModelInference": model_inference,
    "BooleanMetricFeedback": _boolean,
    "FloatMetricFeedback": _float,
    "CommentFeedback": _comment,
    "DemonstrationFeedback": _demonstration,
    "StaticEvaluationHumanFeedback": _human,
    "ChatInferenceDatapoint": _chat_datapoint,
    "JsonInferenceDatapoint": _json_datapoint,
    "BatchRequest": batch_request,
    "BatchModelInference": batch_inference,
    "DynamicInContextLearningExample": _example,
    "DynamicEvaluationRun": _workflow_run,
    "DynamicEvaluationRunEpisode": _workflow_episode,
    "InferenceEvaluationRuns": _evaluation_run,
    "tensorzero_auth_api_key": _api_key,
}
