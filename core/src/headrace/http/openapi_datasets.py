"""The operations of datasets, for the OpenAPI document, and what they answer."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from ..datasets import NearDuplicate
from . import datapoint_bodies, datasets
from . import openapi_answers as told
from .openapi_operations import STORE, TEXT, U32, Operation

_DATASET = "/v1/datasets/{dataset_name}"
_INTERNAL = "/internal/datasets/{dataset_name}/datapoints"
_IN_DATASET = {"dataset_name": TEXT}


class Made(Struct):
    """Ids of new datapoints, in the order of the request, and which of them are copies of others, if any are."""

    ids: list[UUID]
    near_duplicates: list[NearDuplicate] | UnsetType = UNSET


class Retired(Struct):
    """How many datapoints were there until now."""

    num_deleted_datapoints: int


class Copies(Struct):
    """Ids of copies, in the order of the request; null where there was nothing to copy."""

    datapoint_ids: list[UUID | None]


class DatapointCount(Struct):
    """How many datapoints there are."""

    datapoint_count: int


class Access(Struct):
    """Somebody has read test data."""

    id: UUID
    at: datetime
    reader: str
    purpose: str
    datapoint_count: int


class HoldoutAnswer(Struct):
    """How much test data a dataset has, how often it was read, and by whom of late."""

    dataset_name: str
    datapoint_count: int
    access_count: int
    accesses: list[Access]


OPERATIONS = (
    Operation(
        method="POST",
        path=f"{_DATASET}/datapoints",
        summary="Make datapoints",
        tag="datasets",
        body=datapoint_bodies.CreateBody,
        answers=(Made,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="PATCH",
        path=f"{_DATASET}/datapoints",
        summary="Replace datapoints by new versions of them",
        tag="datasets",
        body=datapoint_bodies.UpdateBody,
        answers=(Made,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="DELETE",
        path=f"{_DATASET}/datapoints",
        summary="Retire datapoints",
        tag="datasets",
        body=datapoint_bodies.IdsBody,
        answers=(Retired,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="PATCH",
        path=f"{_DATASET}/datapoints/metadata",
        summary="Give datapoints names",
        tag="datasets",
        body=datapoint_bodies.RenameBody,
        answers=(told.Ids,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="DELETE",
        path=_DATASET,
        summary="Retire a dataset",
        tag="datasets",
        answers=(Retired,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="POST",
        path=f"{_DATASET}/from_inferences",
        summary="Make datapoints of stored inferences",
        tag="datasets",
        body=datasets.FromInferencesBody,
        answers=(Made,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="POST",
        path=f"{_DATASET}/list_datapoints",
        summary="List a dataset",
        tag="datasets",
        body=datasets.ListBody,
        answers=(told.Datapoints,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="POST",
        path=f"{_DATASET}/get_datapoints",
        summary="Datapoints of a dataset by id",
        tag="datasets",
        body=datapoint_bodies.IdsBody,
        answers=(told.Datapoints,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="POST",
        path="/v1/datasets/get_datapoints",
        summary="Datapoints by id",
        tag="datasets",
        body=datapoint_bodies.IdsBody,
        answers=(told.Datapoints,),
        errors=STORE,
    ),
    Operation(
        method="GET",
        path=f"{_DATASET}/holdout",
        summary="Who has read test data of a dataset, newest first",
        tag="datasets",
        answers=(HoldoutAnswer,),
        errors=STORE,
        parameters={**_IN_DATASET, "limit": U32},
    ),
    Operation(
        method="GET",
        path="/internal/datasets",
        summary="Which datasets there are",
        tag="datasets",
        answers=(told.DatasetList,),
        errors=STORE,
        parameters={"function_name": TEXT, "limit": U32, "offset": U32},
    ),
    Operation(
        method="POST",
        path=f"{_INTERNAL}/clone",
        summary="Copy datapoints into a dataset",
        tag="datasets",
        body=datapoint_bodies.CloneBody,
        answers=(Copies,),
        errors=STORE,
        parameters=_IN_DATASET,
    ),
    Operation(
        method="GET",
        path=f"{_INTERNAL}/count",
        summary="How many datapoints a dataset has",
        tag="datasets",
        answers=(DatapointCount,),
        errors=STORE,
        parameters={**_IN_DATASET, "function_name": TEXT},
    ),
)
