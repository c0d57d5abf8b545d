"""Records to rows and back. The columns of a table are the fields of its record, by name and type."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from headrace.records import (
    ApiKey,
    BatchInference,
    BatchRequest,
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
    Record,
    WorkflowEpisode,
    WorkflowRun,
)
from msgspec import Struct, inspect, structs

R_co = TypeVar("R_co", bound=Struct, covariant=True)
Code: TypeAlias = Callable[[Any], Any]
Rows: TypeAlias = list[tuple[Any, ...]]

_ENCODER = msgspec.json.Encoder()

# Tags go in before their inferences: those of an inference that is there already (a batch sent twice) stay out.
_INSERT_TAG: Final = """
    INSERT INTO inference_tag (key, value, inference_id)
    SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM inference WHERE id = ?3) ON CONFLICT DO NOTHING
"""


class CacheEntry(Struct, frozen=True):
    """An answer in the cache; ``written_at`` in seconds since the epoch."""

    key: str
    written_at: float
    entry: bytes


class Table(Generic[R_co]):
    """One kind of record and its table."""

    def __init__(self, name: str, kind: type[R_co], *, replaces: bool = False) -> None:
        """With ``replaces`` a record takes the place of one with its key; otherwise the first one stays."""
        self.name = name
        self.kind = kind
        self._fields = [(field.name, *_code(field.type)) for field in structs.fields(kind)]
        self.columns = ", ".join(f'"{name}"' for name, _, _ in self._fields)
        marks = ", ".join("?" * len(self._fields))
        verb, rest = ("INSERT OR REPLACE", "") if replaces else ("INSERT", " ON CONFLICT DO NOTHING")
        self.insert = f"{verb} INTO {name} ({self.columns}) VALUES ({marks}){rest}"

    def row(self, record: Struct) -> tuple[Any, ...]:
        """The record's columns. Raise ValueError where a field has no stored form."""
        try:
            return tuple(
                [None if (value := getattr(record, name)) is None else write(value) for name, write, _ in self._fields]
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{self.name} {getattr(record, 'id', '')}: {error}") from error

    def records(self, rows: Iterable[Sequence[Any]]) -> list[R_co]:
        """The records of rows that were selected with ``columns``."""
        make: Callable[..., R_co] = self.kind
        return [make(**dict(self._values(row))) for row in rows]

    def _values(self, row: Sequence[Any]) -> Iterable[tuple[str, Any]]:
        for (name, _, read), value in zip(self._fields, row, strict=True):
            yield name, None if value is None else read(value)


def statements(records: Sequence[Record | CacheEntry]) -> list[tuple[str, Rows]]:
    """What to execute, in order, with which rows. Raise ValueError for a record that has no stored form."""
    tags: Rows = []
    rows: dict[str, Rows] = {_INSERT_TAG: tags}
    for record in records:
        table = _TABLES[type(record)]
        rows.setdefault(table.insert, []).append(table.row(record))
        if isinstance(record, InferenceRecord):
            tags.extend([(key, value, record.id.bytes) for key, value in record.tags.items()])
    return list(rows.items())


def _code(type_: Any) -> tuple[Code, Code]:
    """How a field is written and read. What is not a plain value, or optionally one, is JSON."""
    info = inspect.type_info(type_)
    parts = [part for part in getattr(info, "types", [info]) if not isinstance(part, inspect.NoneType)]
    if len(parts) == 1 and type(parts[0]) in _CODES:
        return _CODES[type(parts[0])]
    if info == _VECTOR:
        return _write_vector, _read_vector
    return _write_json, msgspec.json.Decoder(type_).decode


def _same(value: Any) -> Any:
    return value


def _write_text(value: str) -> str:
    value.encode()  # SQLite refuses a lone surrogate as well, but would not say in which record it is
    return value


def _write_json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def _write_float(value: float) -> float:
    # SQLite would take NaN for NULL, and JSON knows no infinity.
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return value


def _write_time(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _write_vector(values: Sequence[float]) -> bytes:
    """Little-endian 32-bit floats. Raise ValueError where one is not finite, or too great for 32 bits."""
    try:
        packed = struct.pack(f"<{len(values)}f", *values)
    except OverflowError as error:
        raise ValueError(f"embedding: {error}") from None
    if not math.isfinite(math.fsum(values)):
        raise ValueError("embedding: not every number is finite")
    return packed


def _read_vector(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 4}f", packed)


_VECTOR: Final = inspect.type_info(tuple[float, ...])
_CODES: Final[dict[type[inspect.Type], tuple[Code, Code]]] = {
    inspect.StrType: (_write_text, _same),
    inspect.LiteralType: (_same, _same),
    inspect.IntType: (_same, _same),
    inspect.FloatType: (_write_float, _same),
    inspect.BoolType: (_same, bool),
    inspect.BytesType: (_same, _same),
    inspect.UUIDType: (lambda value: value.bytes, lambda value: UUID(bytes=value)),
    inspect.DecimalType: (str, Decimal),
    inspect.DateTimeType: (_write_time, datetime.fromisoformat),
}

INFERENCE: Final = Table("inference", InferenceRecord)
MODEL_INFERENCE: Final = Table("model_inference", ModelInferenceRecord)
BOOLEAN: Final = Table("boolean_metric_feedback", BooleanFeedback)
FLOAT: Final = Table("float_metric_feedback", FloatFeedback)
COMMENT: Final = Table("comment_feedback", CommentFeedback)
DEMONSTRATION: Final = Table("demonstration_feedback", DemonstrationFeedback)
DATAPOINT: Final = Table("datapoint", Datapoint, replaces=True)
EXAMPLE: Final = Table("dicl_example", Example)
CONFIG_SNAPSHOT: Final = Table("config_snapshot", ConfigSnapshot, replaces=True)
HUMAN_FEEDBACK: Final = Table("human_feedback", HumanFeedback)
HOLDOUT_ACCESS: Final = Table("holdout_access", HoldoutAccess)
WORKFLOW_RUN: Final = Table("workflow_run", WorkflowRun)
WORKFLOW_EPISODE: Final = Table("workflow_episode", WorkflowEpisode)
API_KEY: Final = Table("api_key", ApiKey, replaces=True)
EVALUATION_RUN: Final = Table("evaluation_run", EvaluationRun)
BATCH_REQUEST: Final = Table("batch_request", BatchRequest)
BATCH_INFERENCE: Final = Table("batch_inference", BatchInference)
CACHE: Final = Table("inference_cache", CacheEntry, replaces=True)

_TABLES: Final[dict[type, Table[Any]]] = {
    table.kind: table
    for table in (
        INFERENCE,
        MODEL_INFERENCE,
        BOOLEAN,
        FLOAT,
        COMMENT,
        DEMONSTRATION,
        DATAPOINT,
        EXAMPLE,
        CONFIG_SNAPSHOT,
        EVALUATION_RUN,
        BATCH_REQUEST,
        BATCH_INFERENCE,
        HUMAN_FEEDBACK,
        HOLDOUT_ACCESS,
        WORKFLOW_RUN,
        WORKFLOW_EPISODE,
        API_KEY,
        CACHE,
    )
}
