"""The fields of a record as columns, each with its kind of value: what the stores that speak SQL share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct, inspect, structs

ColumnKind: TypeAlias = Literal[
    "text", "integer", "float", "boolean", "uuid", "decimal", "instant", "vector", "bytes", "json"
]


class Column(Struct, frozen=True):
    """One field. What is neither a plain value nor optionally one is ``json``; ``from_json`` makes it of its text."""

    name: str
    kind: ColumnKind
    nullable: bool
    from_json: Callable[[str], Any]


@cache
def columns(kind: type[Struct]) -> tuple[Column, ...]:
    """The columns of a kind of record, in the order of its fields."""
    return tuple(_column(field.name, field.type) for field in structs.fields(kind))


_ENCODER: Final = msgspec.json.Encoder()


def json_text(value: Any) -> str:
    """The JSON of a value. Raise ValueError for one that has none, such as a lone surrogate."""
    try:
        return _ENCODER.encode(value).decode()
    except (TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error


def plain_text(value: str) -> str:
    """The text. Raise ValueError for a lone surrogate, which has no UTF-8."""
    value.encode()
    return value


def finite(value: float) -> float:
    """The number. Raise ValueError where it is not finite: JSON and half of the databases know no infinity."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return value


def aware(value: datetime) -> datetime:
    """The instant. Raise ValueError where it has no time zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value


def finite_vector(values: Sequence[float]) -> Sequence[float]:
    """The vector. Raise ValueError where a number is not finite, or too great for 32 bits."""
    for value in values:
        if not abs(value) <= _GREATEST:
            raise ValueError(f"embedding: {value} is not a finite number of 32 bits")
    return values


_GREATEST: Final = 3.4028235677973366e38  # what rounds to the greatest 32-bit float; beyond, it would be infinity
_VECTOR: Final = inspect.type_info(tuple[float, ...])
_KINDS: Final[dict[type[inspect.Type], ColumnKind]] = {
    inspect.StrType: "text",
    inspect.LiteralType: "text",
    inspect.IntType: "integer",
    inspect.FloatType: "float",
    inspect.BoolType: "boolean",
    inspect.BytesType: "bytes",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
    inspect.DateTimeType: "instant",
}


def _column(name: str, type_: Any) -> Column:
    info = inspect.type_info(type_)
    every = getattr(info, "types", [info])
    parts = [part for part in every if not isinstance(part, inspect.NoneType)]
    kind: ColumnKind = "json"
    if info == _VECTOR:
        kind = "vector"
    elif len(parts) == 1:
        kind = _KINDS.get(type(parts[0]), "json")
    nullable = len(parts) < len(every) or isinstance(info, inspect.AnyType)
    return Column(name, kind, nullable, msgspec.json.Decoder(type_).decode)
