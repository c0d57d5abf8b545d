"""Records to rows and back. The columns of a table are the fields of its record, by name and kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from headrace.columns import Column, ColumnKind, aware, columns, finite, finite_vector, json_text
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

from .text import original, stored

R_co = TypeVar("R_co", bound=Struct, covariant=True)
Code: TypeAlias = Callable[[Any], Any]

_ENCODER: Final = msgspec.json.Encoder()
_TAGS: Final = msgspec.json.Decoder(dict[str, str])


class Table(Generic[R_co]):
    """One kind of record and its table."""

    def __init__(
        self, name: str, kind: type[R_co], *, replaces: bool = False, digests: Mapping[str, Code] | None = None
    ) -> None:
        """With ``replaces`` a record takes the place of one with its key; otherwise the first one stays.

        ``digests`` are further columns, made of the record for an index to find it.
        """
        self.name = name
        self.kind = kind
        self.replaces = replaces
        self.key = "hash" if kind is ConfigSnapshot else "id"
        fields = columns(kind)
        self._fields = attrgetter(*(field.name for field in fields))
        self._columns = [(field, *_code(field)) for field in fields]
        # What nearly all rows consist of, texts and JSON, is made without a call of ours: it is for every record.
        self._texts = [n for n, field in enumerate(fields) if field.kind == "text" and not field.nullable]
        self._jsons = [n for n, (field, write, _) in enumerate(self._columns) if write is json_text]
        self._others = [
            (n, write)
            for n, (_, write, _) in enumerate(self._columns)
            if n not in self._texts and n not in self._jsons and write is not _same
        ]
        self._digests = digests or {}
        self.names = [*(field.name for field in fields), *self._digests]
        names = [f'"{name}"' for name in self.names]
        self.columns = ", ".join(names[: len(fields)])
        types = [_TYPES.get(column.kind, "text") for column in columns(kind)] + ["uuid[]"] * len(self._digests)
        self._arrays = [n for n, of in enumerate(types) if "[" in of]
        # One statement for all rows, planned once. An array of arrays would come apart, so these travel as text.
        marks = ", ".join(f"${n}::{'text' if '[' in of else of}[]" for n, of in enumerate(types, 1))
        values = ", ".join(f"c{n}::{of}" for n, of in enumerate(types, 1))
        aliases = ", ".join(f"c{n}" for n in range(1, len(types) + 1))
        changes = ", ".join(f"{each} = EXCLUDED.{each}" for each in names)
        conflict = f'("{self.key}") DO UPDATE SET {changes}' if replaces else "DO NOTHING"
        self.insert = (
            f"INSERT INTO {name} ({', '.join(names)}) SELECT {values} FROM unnest({marks}) AS rows ({aliases})"
            f" ON CONFLICT {conflict}"
        )

    def row(self, record: Struct) -> list[Any]:
        """The record's columns. Raise ValueError, which says where, for a field that has no stored form."""
        row = list(self._fields(record))
        n = 0
        try:
            for n in self._texts:
                text = row[n]
                if "\x00" in text or "\x01" in text or not text.isascii():
                    row[n] = stored(text)
            for n in self._jsons:
                if row[n] is not None:
                    row[n] = _ENCODER.encode(row[n]).decode()
                    if row[n] == "null":  # such as a NaN: it would come back as another value
                        raise ValueError("it has no JSON but null")
            for n, write in self._others:
                if row[n] is not None:
                    row[n] = write(row[n])
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            where = f"{self.name} {getattr(record, self.key)!s:.100}, {self.names[n]}"
            raise ValueError(f"{where}: {error}") from error
        row.extend([of(record) for of in self._digests.values()])
        return row

    def arrays(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """The parameters of ``insert``."""
        found: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for n in self._arrays:
            # As PostgreSQL writes an array of what needs no quotes, such as ids and numbers.
            found[n] = ["{" + ",".join(map(str, values)) + "}" for values in found[n]]
        return found

    def records(self, rows: Iterable[Sequence[Any]]) -> list[R_co]:
        """The records of rows that were selected with ``columns``."""
        make: Callable[..., R_co] = self.kind
        return [make(**dict(self._values(row))) for row in rows]

    def _values(self, row: Sequence[Any]) -> Iterable[tuple[str, Any]]:
        for (column, _, read), value in zip(self._columns, row, strict=True):
            yield column.name, None if value is None else read(value)


def rows_of(records: Sequence[Record]) -> list[tuple[Table[Record], list[list[Any]]]]:
    """The rows of records by table. Raise ValueError for a record without a stored form.

    Rows are sorted by key, so that two who write the same ones wait for each other instead of blocking each other. Of
    those with one key, of which a statement takes only one, it is the one that will stay.
    """
    found: dict[type[Record], dict[Any, Record]] = {kind: {} for kind in TABLES}
    for record in records:
        rows = found[type(record)]
        if TABLES[type(record)].replaces:
            rows[_key(record)] = record
        else:
            rows.setdefault(_key(record), record)
    return [
        (TABLES[kind], [TABLES[kind].row(rows[key]) for key in sorted(rows)]) for kind, rows in found.items() if rows
    ]


def digest(*texts: str) -> UUID:
    """What an index knows of a tag (key, value) or a near key: 128 bits, however long they are.

    Raise ValueError for a lone surrogate.
    """
    return UUID(bytes=blake2b(json_text(texts).encode(), digest_size=16).digest())


def uuid(value: Any) -> UUID:
    """The standard library's UUID, in place of asyncpg's own class, which no encoder knows."""
    return UUID(int=value.int)


def _key(record: Record) -> Any:
    return record.hash if isinstance(record, ConfigSnapshot) else record.id


def _code(column: Column) -> tuple[Code, Code]:
    """How a field is written and read."""
    if column.name == "tags":
        return _write_tags, _read_tags
    if column.kind == "json":
        return json_text, column.from_json
    return _CODES[column.kind]


def _write_tags(tags: Mapping[str, str]) -> str:
    # Escaped inside, so that `tags::jsonb ->> key` works for every tag.
    return json_text({stored(key): stored(value) for key, value in tags.items()})


def _read_tags(text: str) -> dict[str, str]:
    tags = _TAGS.decode(text)
    return {original(key): original(value) for key, value in tags.items()} if "\\u0001" in text else tags


def _write_integer(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{value} has more than 64 bits")
    return value


def _write_decimal(value: Any) -> Any:
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    return value


def _tag_digests(record: Any) -> list[UUID]:
    return [digest(key, value) for key, value in record.tags.items()]


def _near_digests(record: Any) -> list[UUID]:
    return [digest(key) for key in record.near_keys]


def _write_vector(values: Sequence[float]) -> list[float]:
    return list(map(float, finite_vector(values)))


def _same(value: Any) -> Any:
    return value


_CODES: Final[Mapping[ColumnKind, tuple[Code, Code]]] = {
    "text": (stored, original),
    "integer": (_write_integer, _same),
    "float": (finite, _same),
    "boolean": (_same, _same),
    "uuid": (_same, uuid),
    "decimal": (_write_decimal, _same),
    "instant": (aware, _same),
    "vector": (_write_vector, tuple),
    "bytes": (_same, _same),
}

_TYPES: Final[Mapping[ColumnKind, str]] = {
    "integer": "bigint",
    "float": "float8",
    "boolean": "boolean",
    "uuid": "uuid",
    "decimal": "numeric",
    "instant": "timestamptz",
    "vector": "float4[]",
    "bytes": "bytea",
}

INFERENCE: Final = Table("inference", InferenceRecord, digests={"tag_digests": _tag_digests})
MODEL_INFERENCE: Final = Table("model_inference", ModelInferenceRecord)
BOOLEAN: Final = Table("boolean_metric_feedback", BooleanFeedback)
FLOAT: Final = Table("float_metric_feedback", FloatFeedback)
COMMENT: Final = Table("comment_feedback", CommentFeedback)
DEMONSTRATION: Final = Table("demonstration_feedback", DemonstrationFeedback)
HUMAN: Final = Table("human_feedback", HumanFeedback)
DATAPOINT: Final = Table(
    "datapoint", Datapoint, replaces=True, digests={"tag_digests": _tag_digests, "near_digests": _near_digests}
)
HOLDOUT_ACCESS: Final = Table("holdout_access", HoldoutAccess)
EXAMPLE: Final = Table("dicl_example", Example)
CONFIG_SNAPSHOT: Final = Table("config_snapshot", ConfigSnapshot, replaces=True)
BATCH_REQUEST: Final = Table("batch_request", BatchRequest)
BATCH_INFERENCE: Final = Table("batch_inference", BatchInference)
API_KEY: Final = Table("api_key", ApiKey, replaces=True)

TABLES: Final[Mapping[type[Record], Table[Record]]] = {
    InferenceRecord: INFERENCE,
    ModelInferenceRecord: MODEL_INFERENCE,
    BooleanFeedback: BOOLEAN,
    FloatFeedback: FLOAT,
    CommentFeedback: COMMENT,
    DemonstrationFeedback: DEMONSTRATION,
    HumanFeedback: HUMAN,
    Datapoint: DATAPOINT,
    HoldoutAccess: HOLDOUT_ACCESS,
    Example: EXAMPLE,
    ConfigSnapshot: CONFIG_SNAPSHOT,
    EvaluationRun: Table("evaluation_run", EvaluationRun),
    WorkflowRun: Table("workflow_run", WorkflowRun),
    WorkflowEpisode: Table("workflow_episode", WorkflowEpisode),
    BatchRequest: BATCH_REQUEST,
    BatchInference: BATCH_INFERENCE,
    ApiKey: API_KEY,
}
