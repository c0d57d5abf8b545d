"""Records to rows and back. The columns of a table are the fields of its record, by name and kind."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from headrace.columns import Column, aware, columns, finite, finite_vector, json_text, plain_text
from headrace.errors import RecordRefused
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
from msgspec import Struct
from msgspec.structs import astuple

R_co = TypeVar("R_co", bound=Struct, covariant=True)
Code: TypeAlias = Callable[[Any], Any]


class Table(Generic[R_co]):
    """One kind of record, its table, and what the table is sorted by, of which ``key`` is the first part."""

    def __init__(self, name: str, kind: type[R_co], *key: str) -> None:
        """``key`` are the expressions of the sorting key; by default the id as a number."""
        self.name = name
        self.kind = kind
        self.key = f"({', '.join(key or ('toUInt128(id)',))})"
        self._columns = [(column.name, *_code(column)) for column in columns(kind)]
        self._writers = [(n, write) for n, (_, write, _) in enumerate(self._columns) if write is not _same]
        self.columns = ", ".join(f"`{name}`" for name, _, _ in self._columns)
        self.into = f"{name} ({self.columns})"

    def row(self, record: Struct) -> list[Any]:
        """The record's columns. Raise ValueError where a field has no stored form."""
        row = list(astuple(record))
        for place, write in self._writers:
            if (value := row[place]) is not None:
                row[place] = write(value)
        return row

    def records(self, rows: Iterable[Sequence[Any]]) -> list[R_co]:
        """The records of rows that were selected with ``columns``; further columns are left aside."""
        make: Callable[..., R_co] = self.kind
        return [
            make(
                **{
                    name: None if value is None else read(value)
                    for (name, _, read), value in zip(self._columns, row, strict=False)
                }
            )
            for row in rows
        ]


def rows_by_table(records: Sequence[Record]) -> list[tuple[Table[Any], list[list[Any]]]]:
    """What to insert where. Raise RecordRefused for a record that has no stored form.

    Of several records with one key in one batch one row goes out, since rows of one insert have the same age.
    """
    found: dict[type, dict[Any, list[Any]]] = {}
    for record in records:
        table = TABLES[type(record)]
        key = record.hash if isinstance(record, ConfigSnapshot) else record.id
        rows = found.setdefault(table.kind, {})
        try:
            row = table.row(record)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise RecordRefused(f"clickhouse store: cannot write {table.name} {str(key)[:100]!r}: {error}") from error
        if isinstance(record, REPLACED):
            rows[key] = row
        else:
            rows.setdefault(key, row)
    return [(table, list(found[kind].values())) for kind, table in TABLES.items() if kind in found]


def instant_text(value: datetime) -> str:
    """An instant as rows have it: in UTC and always of one length, so that texts sort as instants do."""
    return aware(value).astimezone(UTC).isoformat(timespec="microseconds")


def _same(value: Any) -> Any:
    return value


def _write_integer(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{value} has more than 64 bits")
    return value


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    return str(value)


def _write_tags(tags: dict[str, str]) -> dict[str, str]:
    for text in (part for pair in tags.items() for part in pair):
        plain_text(text)
    return tags


def _write_texts(texts: Sequence[str]) -> list[str]:
    return [plain_text(text) for text in texts]


def _read_vector(values: Sequence[float]) -> tuple[float, ...]:
    # The server prints the shortest text of a 32-bit float, of which Python would make another number.
    return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))


def _read_float(value: float | None) -> float:
    return math.nan if value is None else float(value)


_CODES: Final[dict[str, tuple[Code, Code]]] = {
    "text": (plain_text, _same),
    "integer": (_write_integer, _same),
    "float": (finite, _read_float),
    "boolean": (_same, bool),
    "uuid": (_same, UUID),
    "decimal": (_write_decimal, Decimal),
    "instant": (instant_text, datetime.fromisoformat),
    "vector": (lambda values: list(finite_vector(values)), _read_vector),
}
# What filters ask for is not JSON to the server.
_NAMED: Final[dict[str, tuple[Code, Code]]] = {"tags": (_write_tags, _same), "near_keys": (_write_texts, tuple)}


def _code(column: Column) -> tuple[Code, Code]:
    if column.name in _NAMED:
        return _NAMED[column.name]
    return (json_text, column.from_json) if column.kind == "json" else _CODES[column.kind]


_TARGET: Final = ("toUInt128(target_id)", "toUInt128(id)")
_BATCH: Final = ("toUInt128(batch_id)", "toUInt128(id)")

INFERENCE: Final = Table("inference", InferenceRecord)
MODEL_INFERENCE: Final = Table("model_inference", ModelInferenceRecord, "toUInt128(inference_id)", "toUInt128(id)")
BOOLEAN: Final = Table("boolean_metric_feedback", BooleanFeedback, "metric_name", *_TARGET)
FLOAT: Final = Table("float_metric_feedback", FloatFeedback, "metric_name", *_TARGET)
COMMENT: Final = Table("comment_feedback", CommentFeedback, *_TARGET)
DEMONSTRATION: Final = Table(
    "demonstration_feedback", DemonstrationFeedback, "toUInt128(inference_id)", "toUInt128(id)"
)
HUMAN_FEEDBACK: Final = Table(
    "human_feedback", HumanFeedback, "metric_name", "toUInt128(datapoint_id)", "toUInt128(id)"
)
DATAPOINT: Final = Table("datapoint", Datapoint)
HOLDOUT_ACCESS: Final = Table("holdout_access", HoldoutAccess)
EXAMPLE: Final = Table("dicl_example", Example, "function_name", "variant_name", "toUInt128(id)")
CONFIG_SNAPSHOT: Final = Table("config_snapshot", ConfigSnapshot, "hash")
EVALUATION_RUN: Final = Table("evaluation_run", EvaluationRun)
WORKFLOW_RUN: Final = Table("workflow_run", WorkflowRun)
WORKFLOW_EPISODE: Final = Table("workflow_episode", WorkflowEpisode)
BATCH_REQUEST: Final = Table("batch_request", BatchRequest, *_BATCH)
BATCH_INFERENCE: Final = Table("batch_inference", BatchInference, *_BATCH)
API_KEY: Final = Table("api_key", ApiKey)

REPLACED: Final = (Datapoint, ConfigSnapshot, ApiKey)
TABLES: Final[dict[type, Table[Any]]] = {
    table.kind: table
    for table in (
        INFERENCE,
        MODEL_INFERENCE,
        BOOLEAN,
        FLOAT,
        COMMENT,
        DEMONSTRATION,
        HUMAN_FEEDBACK,
        DATAPOINT,
        HOLDOUT_ACCESS,
        EXAMPLE,
        CONFIG_SNAPSHOT,
        EVALUATION_RUN,
        WORKFLOW_RUN,
        WORKFLOW_EPISODE,
        API_KEY,
        BATCH_REQUEST,
        BATCH_INFERENCE,
    )
}
