"""Records in a dict, each a copy of what was written, checked as a store on disk would check it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from headrace.columns import aware, columns, finite_vector
from headrace.errors import RecordRefused
from headrace.records import ApiKey, ConfigSnapshot, Datapoint, DemonstrationFeedback, Feedback, Record

R = TypeVar("R")
Key: TypeAlias = tuple[type, UUID | str]

_DECODER = msgspec.json.Decoder(Record)
_REPLACED: Final = (Datapoint, ConfigSnapshot, ApiKey)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Rows:
    """Every record, by its kind and key, in the order in which they were first written."""

    def __init__(self) -> None:
        self._rows: dict[Key, Record] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(self._rows.values())

    def all(self, kind: type[R]) -> list[R]:
        """Those of one kind."""
        return [record for record in self._rows.values() if isinstance(record, kind)]

    def put(self, records: Iterable[Record]) -> None:
        """Take copies of all, or of none. Raise RecordRefused for one that has no JSON form or does not fit."""
        for record in [_copy(record) for record in records]:
            if isinstance(record, _REPLACED):
                self._rows[_key(record)] = record
            else:
                self._rows.setdefault(_key(record), record)

    def replace(self, record: Record) -> None:
        """Put a record in the place of the one of the same kind and key."""
        self._rows[_key(record)] = record

    def remove(self, record: Record) -> None:
        """Forget a record."""
        del self._rows[_key(record)]


def key_of(record: Record) -> str:
    """What ``scan`` orders by: the hash of a configuration, the id of all others as text."""
    return record.hash if isinstance(record, ConfigSnapshot) else str(record.id)


def id_of(record: Any) -> UUID:
    """The id of a record that has one: to sort by."""
    found: UUID = record.id
    return found


def instant(id_: UUID) -> datetime:
    """When a UUIDv7 was made, in whole milliseconds."""
    return _EPOCH + timedelta(milliseconds=id_.int >> 80)


def target_of(one: Feedback) -> UUID:
    """The inference or episode that feedback is about."""
    return one.inference_id if isinstance(one, DemonstrationFeedback) else one.target_id


def _key(record: Record) -> Key:
    return type(record), record.hash if isinstance(record, ConfigSnapshot) else record.id


def _copy(record: Record) -> Record:
    """By way of JSON, so that later changes to a caller's dicts do not reach us."""
    try:
        copy: Record = _DECODER.decode(msgspec.json.encode(record))
        for column in columns(type(copy)):
            _check(column.kind, getattr(copy, column.name))
        return copy
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RecordRefused(
            f"memory store: cannot write {type(record).__name__} {getattr(record, 'id', '')}: {error}"
        ) from error


def _check(kind: str, value: Any) -> None:
    """Raise ValueError where a column of a database could not hold the value."""
    if value is None:
        return
    if kind == "instant":
        aware(value)
    elif kind == "vector":
        finite_vector(value)
    elif kind == "integer" and not -(2**63) <= value < 2**63:
        raise ValueError(f"{value} has more than 64 bits")
    elif kind == "decimal" and not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
