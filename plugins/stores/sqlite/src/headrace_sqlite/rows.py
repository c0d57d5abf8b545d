"""Records to rows and back. The columns of a table are the fields of its record, by name and type."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec
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
Rows: TypeAlias = list[Sequence[Any]]

# Rows of one statement: as many of the first as there are, then of the next, and so on. SQLite gives Python's lock back
# between statements, and a busy event loop may keep it then.
_TOGETHER: Final = (32, 8, 2, 1)

# How Python's module binds a value: one that is exactly an int, a float, a str or a bytearray goes straight to SQLite
# (0.1 us), for any other, None and bytes among them, it looks for an adapter first (0.6 to 1 us), of which there is
# none, all the while holding Python's lock. So ids travel as bytearrays, booleans as 0 and 1, and None as what SQLite
# stores NULL for.
_NULL: Final = math.nan

_ENCODER: Final = msgspec.json.Encoder()

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
        self._writers = {field.name: _CODES[field.kind][0] for field in fields}
        self._null_texts = null_texts
        # A row is made of each record on its way, under Python's lock: what is stored as it is costs nothing here, and
        # what nearly all rows consist of, texts and JSON, no call of ours.
        required = [(n, field) for n, field in enumerate(fields) if not field.nullable]
        self._texts = [n for n, field in required if field.kind == "text"]
        self._jsons = [n for n, field in required if field.kind == "json"]
        self._others = [
            (n, _CODES[field.kind][0])
            for n, field in required
            if field.kind not in ("text", "json", "integer", "bytes")
        ]
        self._optional = [
            (n, _CODES[field.kind][0], "null" if field.name in null_texts else _NULL)
            for n, field in enumerate(fields)
            if field.nullable
        ]
        self._readers = [_reader(field) for field in fields]
        self.columns = ", ".join(f'"{each}"' for each in self._names)
        marks = ", ".join("?" * len(self._names))
        verb, rest = ("INSERT OR REPLACE", "") if replaces else ("INSERT", " ON CONFLICT DO NOTHING")
        self._inserts = {
            many: f"{verb} INTO {name} ({self.columns}) VALUES {', '.join([f'({marks})'] * many)}{rest}"
            for many in _TOGETHER
        }

    def row(self, record: Struct) -> Sequence[Any]:
        """The record's columns, to be bound. Raise ValueError where a field has no stored form."""
        try:
            row = list(self._values(record))
            for n in self._texts:
                if not row[n].isascii():
                    plain_text(row[n])
            for n in self._jsons:
                row[n] = _ENCODER.encode(row[n]).decode()
                if row[n] == "null":
                    raise ValueError(f"{self._names[n]} has no JSON but null")  # such as a NaN
            for n, write in self._others:
                row[n] = write(row[n])
            for n, write, null in self._optional:
                value = row[n]
                row[n] = null if value is None else write(value)
            return row
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise ValueError(f"{self.name} {getattr(record, self.key, '')}: {error}") from error

    def inserts(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Statements that insert these rows, in this order, most of them many at once."""
        done = 0
        for many, sql in self._inserts.items():
            starts = range(done, len(rows) - many + 1, many)
            if starts:
                yield sql, [tuple(chain.from_iterable(rows[at : at + many])) for at in starts]
                done = starts[-1] + many

    def stored(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Some fields as their columns hold them."""
        nulls = dict.fromkeys(self._null_texts, "null")
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
            tags.extend([(key, value, bytearray(record.id.bytes)) for key, value in record.tags.items()])
        elif isinstance(record, Datapoint):
            datapoints[record.id] = record
    found = [(_INSERT_TAG, tags)]
    for table, rows in by_table.items():
        found += table.inserts(rows)
    if datapoints:
        ids: Rows = [(id_.bytes,) for id_ in datapoints]
        found += [(_DELETE_DATAPOINT_TAGS, ids), (_DELETE_NEAR_KEYS, ids)]
        pairs: Rows = [(id_.bytes, *tag) for id_, point in datapoints.items() for tag in point.tags.items()]
        near: Rows = [(id_.bytes, key) for id_, point in datapoints.items() for key in point.near_keys]
        found += [(_INSERT_DATAPOINT_TAG, pairs), (_INSERT_NEAR_KEY, near)]
    return found


def instant_text(value: datetime) -> str:
    """An instant as it is stored: in UTC with microseconds, so that texts sort as instants do."""
    return aware(value).astimezone(UTC).isoformat(timespec="microseconds")


def _reader(column: Column) -> Code:
    return column.from_json if column.kind == "json" else _CODES[column.kind][1]


def _same(value: Any) -> Any:
    return value


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
    "boolean": (int, bool),
    "bytes": (_same, _same),
    "uuid": (lambda value: bytearray(value.bytes), lambda value: UUID(bytes=value)),
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
