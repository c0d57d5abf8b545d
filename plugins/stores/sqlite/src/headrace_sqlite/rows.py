"""Records to rows and back. The columns of a table are the fields of its record, by name and type."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from headrace.columns import Column, ColumnKind, aware, columns, finite, finite_vector, json_text, plain_text
from headrace.records import (
    KINDS,
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

R_co = TypeVar("R_co", bound=Struct, covariant=True)
Code: TypeAlias = Callable[[Any], Any]
Rows: TypeAlias = list[tuple[Any, ...]]

# Rows of one statement. SQLite gives Python's lock back between statements, and a busy event loop may keep it then.
_TOGETHER: Final = 32

# Tags go in before their inferences: those of an inference that is there already (a batch sent twice) stay out.
_INSERT_TAG: Final = """
    INSERT INTO inference_tag (key, value, inference_id)
    SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM inference WHERE id = ?3) ON CONFLICT DO NOTHING
"""

# A datapoint takes the place of the one before, and so do its tags and near keys.
_DELETE_DATAPOINT_TAGS: Final = "DELETE FROM datapoint_tag WHERE datapoint_id = ?"
_DELETE_NEAR_KEYS: Final = "DELETE FROM datapoint_near_key WHERE datapoint_id = ?"
_INSERT_DATAPOINT_TAG: Final = "INSERT INTO datapoint_tag (datapoint_id, key, value) VALUES (?, ?, ?)"
_INSERT_NEAR_KEY: Final = "INSERT INTO datapoint_near_key (datapoint_id, near_key) VALUES (?, ?) ON CONFLICT DO NOTHING"


class CacheEntry(Struct, frozen=True):
    """An answer in the cache; ``written_at`` in seconds since the epoch."""

    key: str
    written_at: float
    entry: bytes


class Table(Generic[R_co]):
    """One kind of record and its table."""

    def __init__(
        self, name: str, kind: type[R_co], *, key: str = "id", replaces: bool = False, null_texts: Sequence[str] = ()
    ) -> None:
        """With ``replaces`` a record takes the place of one with its key; otherwise the first one stays.

        ``null_texts`` are fields of JSON whose columns know no NULL, so that None is the text ``null`` there.
        """
        self.name = name
        self.kind = kind
        self.key = key
        fields = columns(kind)
        self._names = [field.name for field in fields]
        self._values = attrgetter(*self._names)
        self._writers = {field.name: _writer(field) for field in fields}
        # A row is made for each record on its way, so what is stored as it is costs nothing here.
        self._changes = [(n, _writer(field)) for n, field in enumerate(fields) if _writer(field) is not _same]
        self._null_texts = [n for n, field in enumerate(fields) if field.name in null_texts]
        self._readers = [_reader(field) for field in fields]
        self.columns = ", ".join(f'"{each}"' for each in self._names)
        marks = ", ".join("?" * len(self._names))
        verb, rest = ("INSERT OR REPLACE", "") if replaces else ("INSERT", " ON CONFLICT DO NOTHING")
        self.insert = f"{verb} INTO {name} ({self.columns}) VALUES ({marks}){rest}"
        self._insert_many = f"{verb} INTO {name} ({self.columns}) VALUES {', '.join([f'({marks})'] * _TOGETHER)}{rest}"

    def row(self, record: Struct) -> tuple[Any, ...]:
        """The record's columns. Raise ValueError where a field has no stored form."""
        try:
            row = list(self._values(record))
            for n, write in self._changes:
                if row[n] is not None:
                    row[n] = write(row[n])
            for n in self._null_texts:
                row[n] = row[n] or "null"
            return tuple(row)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"{self.name} {getattr(record, self.key, '')}: {error}") from error

    def inserts(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Statements that insert these rows, most of them many at once."""
        whole = len(rows) // _TOGETHER * _TOGETHER
        if whole:
            yield (
                self._insert_many,
                [tuple(chain.from_iterable(rows[at : at + _TOGETHER])) for at in range(0, whole, _TOGETHER)],
            )
        if whole < len(rows):
            yield self.insert, rows[whole:]

    def stored(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Some fields as their columns hold them."""
        nulls = {self._names[n]: "null" for n in self._null_texts}
        return {
            name: nulls.get(name) if value is None else self._writers[name](value) for name, value in values.items()
        }

    def records(self, rows: Iterable[Sequence[Any]]) -> list[R_co]:
        """The records of rows that were selected with ``columns``."""
        make: Callable[..., R_co] = self.kind
        readers = list(zip(self._names, self._readers, strict=True))
        return [
            make(
                **{
                    name: None if value is None else read(value)
                    for (name, read), value in zip(readers, row, strict=True)
                }
            )
            for row in rows
        ]


def statements(records: Sequence[Record | CacheEntry]) -> list[tuple[str, Rows]]:
    """What to execute, in order, with which rows. Raise ValueError for a record that has no stored form."""
    tags: Rows = []
    by_table: dict[Table[Any], Rows] = {}
    datapoints: dict[UUID, Datapoint] = {}  # of several with one id the last one stays, and so do its tags
    for record in records:
        table = _TABLES[type(record)]
        by_table.setdefault(table, []).append(table.row(record))
        if isinstance(record, InferenceRecord):
            tags.extend([(key, value, record.id.bytes) for key, value in record.tags.items()])
        elif isinstance(record, Datapoint):
            datapoints[record.id] = record
    found = [(_INSERT_TAG, tags)]
    for table, rows in by_table.items():
        found += table.inserts(rows)
    if datapoints:
        ids: Rows = [(id_.bytes,) for id_ in datapoints]
        found += [(_DELETE_DATAPOINT_TAGS, ids), (_DELETE_NEAR_KEYS, ids)]
        pairs = [(id_.bytes, *tag) for id_, point in datapoints.items() for tag in point.tags.items()]
        near = [(id_.bytes, key) for id_, point in datapoints.items() for key in point.near_keys]
        found += [(_INSERT_DATAPOINT_TAG, pairs), (_INSERT_NEAR_KEY, near)]
    return found


def instant_text(value: datetime) -> str:
    """An instant as it is stored: in UTC with microseconds, so that texts sort as instants do."""
    return aware(value).astimezone(UTC).isoformat(timespec="microseconds")


def _writer(column: Column) -> Code:
    if column.kind == "json" and not column.nullable:
        return _write_required_json
    return _CODES[column.kind][0]


def _reader(column: Column) -> Code:
    return column.from_json if column.kind == "json" else _CODES[column.kind][1]


def _same(value: Any) -> Any:
    return value


def _write_required_json(value: Any) -> str:
    if (text := json_text(value)) == "null":
        raise ValueError(f"{value} has no JSON but null")  # such as a NaN
    return text


def _write_decimal(value: Decimal) -> str:
    finite(value)  # type: ignore[arg-type]
    return str(value)


def _write_vector(values: Sequence[float]) -> bytes:
    """Little-endian 32-bit floats."""
    return struct.pack(f"<{len(values)}f", *finite_vector(values))


def _read_vector(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 4}f", packed)


_CODES: Final[dict[ColumnKind, tuple[Code, Code]]] = {
    "text": (plain_text, _same),  # SQLite refuses a lone surrogate too, but would not say in which record it is
    "integer": (_same, _same),
    "float": (finite, _same),  # SQLite would take NaN for NULL
    "boolean": (_same, bool),
    "bytes": (_same, _same),
    "uuid": (lambda value: value.bytes, lambda value: UUID(bytes=value)),
    "decimal": (_write_decimal, Decimal),
    "instant": (instant_text, datetime.fromisoformat),
    "vector": (_write_vector, _read_vector),
    "json": (json_text, _same),
}

INFERENCE: Final = Table("inference", InferenceRecord, null_texts=("input", "output"))
MODEL_INFERENCE: Final = Table("model_inference", ModelInferenceRecord)
BOOLEAN: Final = Table("boolean_metric_feedback", BooleanFeedback)
FLOAT: Final = Table("float_metric_feedback", FloatFeedback)
COMMENT: Final = Table("comment_feedback", CommentFeedback)
DEMONSTRATION: Final = Table("demonstration_feedback", DemonstrationFeedback)
HUMAN_FEEDBACK: Final = Table("human_feedback", HumanFeedback)
DATAPOINT: Final = Table("datapoint", Datapoint, replaces=True)
HOLDOUT_ACCESS: Final = Table("holdout_access", HoldoutAccess)
EXAMPLE: Final = Table("dicl_example", Example)
CONFIG_SNAPSHOT: Final = Table("config_snapshot", ConfigSnapshot, key="hash", replaces=True)
EVALUATION_RUN: Final = Table("evaluation_run", EvaluationRun)
WORKFLOW_RUN: Final = Table("workflow_run", WorkflowRun)
WORKFLOW_EPISODE: Final = Table("workflow_episode", WorkflowEpisode)
BATCH_REQUEST: Final = Table("batch_request", BatchRequest)
BATCH_INFERENCE: Final = Table("batch_inference", BatchInference)
API_KEY: Final = Table("api_key", ApiKey, replaces=True)
CACHE: Final = Table("inference_cache", CacheEntry, key="key", replaces=True)

_TABLES: Final[dict[type, Table[Any]]] = {
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
        BATCH_REQUEST,
        BATCH_INFERENCE,
        API_KEY,
        CACHE,
    )
}
TABLES: Final[tuple[Table[Any], ...]] = tuple(_TABLES[kind] for kind in KINDS)
"""The table of every kind of record."""


def table_of(kind: type[R_co]) -> Table[R_co]:
    """The table of a kind of record."""
    return _TABLES[kind]
