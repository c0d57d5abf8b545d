"""The operations of stored inferences, episodes and feedback, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, TypeAlias

from . import episodes, filters, inferences, snapshots
from . import openapi_history_answers as told
from .openapi_operations import STORE, TEXT, U32, UUID_TEXT, Operation

_Schemas: TypeAlias = dict[str, dict[str, Any]]

_PAGE: _Schemas = {"before": UUID_TEXT, "after": UUID_TEXT, "limit": U32}
_FUNCTION: _Schemas = {"function_name": TEXT}
_EPISODE = "/internal/episodes/{episode_id}"
_TARGET = "/internal/feedback/{target_id}"
_OF_TARGET: _Schemas = {"target_id": UUID_TEXT}

OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/inferences/list_inferences",
        summary="Stored inferences, by what they are and what was said of them",
        tag="inferences",
        body=filters.ListInferencesBody,
        answers=(told.Inferences,),
        errors=STORE,
    ),
    Operation(
        method="POST",
        path="/v1/inferences/get_inferences",
        summary="Stored inferences by id",
        tag="inferences",
        body=inferences.GetInferencesBody,
        answers=(told.Inferences,),
        errors=STORE,
    ),
    Operation(
        method="POST",
        path="/internal/inferences/count",
        summary="How many inferences a query selects",
        tag="inferences",
        body=filters.SelectionBody,
        answers=(told.Counted,),
        errors=STORE,
    ),
    Operation(
        method="GET",
        path="/internal/inference_metadata",
        summary="Inferences, without what was asked and answered",
        tag="inferences",
        answers=(told.InferenceMetadataList,),
        errors=STORE,
        parameters=_PAGE | _FUNCTION | {"variant_name": TEXT, "episode_id": UUID_TEXT},
    ),
    Operation(
        method="GET",
        path="/internal/model_inferences/{inference_id}",
        summary="Every attempt at a provider behind one inference",
        tag="inferences",
        answers=(told.ModelInferences,),
        errors=STORE,
        parameters={"inference_id": UUID_TEXT},
    ),
    Operation(
        method="GET",
        path="/internal/episodes",
        summary="Episodes, greatest id first",
        tag="episodes",
        answers=(told.Episodes,),
        errors=STORE,
        parameters=_PAGE | _FUNCTION,
    ),
    Operation(
        method="POST",
        path="/internal/episodes",
        summary="Episodes that have an inference that meets a filter",
        tag="episodes",
        body=episodes.ListEpisodesBody,
        answers=(told.Episodes,),
        errors=STORE,
    ),
    Operation(
        method="GET",
        path="/internal/episodes/bounds",
        summary="The least and the greatest id of episodes",
        tag="episodes",
        answers=(told.EpisodeBounds,),
        errors=STORE,
    ),
    Operation(
        method="GET",
        path=f"{_EPISODE}/inference_count",
        summary="How many inferences an episode has",
        tag="episodes",
        answers=(told.InferenceCountAnswer,),
        errors=STORE,
        parameters={"episode_id": UUID_TEXT},
    ),
    Operation(
        method="GET",
        path=_TARGET,
        summary="What was said of an inference or an episode",
        tag="feedback",
        answers=(told.FeedbackRows,),
        errors=STORE,
        parameters=_OF_TARGET | _PAGE,
    ),
    Operation(
        method="GET",
        path=f"{_TARGET}/demonstrations",
        summary="Its demonstrations alone",
        tag="feedback",
        answers=(told.FeedbackRows,),
        errors=STORE,
        parameters=_OF_TARGET | _PAGE,
    ),
    Operation(
        method="GET",
        path=f"{_TARGET}/bounds",
        summary="The oldest and the newest row, of all and by type",
        tag="feedback",
        answers=(told.FeedbackBoundsAnswer,),
        errors=STORE,
        parameters=_OF_TARGET,
    ),
    Operation(
        method="GET",
        path=f"{_TARGET}/latest_id_by_metric",
        summary="The newest row of each metric",
        tag="feedback",
        answers=(told.LatestFeedback,),
        errors=STORE,
        parameters=_OF_TARGET,
    ),
    Operation(
        method="GET",
        path=f"{_TARGET}/count",
        summary="How many rows there are",
        tag="feedback",
        answers=(told.Counted,),
        errors=STORE,
        parameters=_OF_TARGET,
    ),
    Operation(
        method="GET",
        path="/internal/resolve_uuid/{id}",
        summary="What it is that has an id",
        tag="platform",
        answers=(told.ResolvedId,),
        errors=STORE,
        parameters={"id": UUID_TEXT},
    ),
    Operation(
        method="POST",
        path="/internal/config",
        summary="Check a configuration and keep it; which one runs does not change",
        tag="platform",
        body=snapshots.WriteConfigBody,
        answers=(told.ConfigHash,),
        errors=STORE,
    ),
)
