"""Files of rows: JSON lines, or Parquet where pyarrow is installed. They come back as they were, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC
from decimal import Decimal
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias
from uuid import UUID

import msgspec

from ..columns import Column, ColumnKind, columns, json_text
from ..errors import HeadraceError
from ..records import Record

Format: TypeAlias = Literal["jsonl", "parquet"]
PAGE: Final = 1000
"""Rows that are read, written and held at a time."""


class ExportDamaged(HeadraceError):
    """A folder that is not an export, or is not as it was written."""


class Sheet(Protocol):
    """A file of one kind that is being written."""

    def write(self, page: Sequence[Record]) -> None:
        """Append rows."""

    def close(self) -> None:
        """Finish the file."""


def create(path: Path, kind: type[Record], format_: Format) -> AbstractContextManager[Sheet]:
    """A new file. Raise HeadraceError where the format needs what is not installed."""
    return closing(_JsonLines(path) if format_ == "jsonl" else _Parquet(path, kind))


def read(path: Path, kind: type[Record], format_: Format) -> Iterator[Record]:
    """The rows of a file, one page in memory at a time. Raise ExportDamaged for one that cannot be read."""
    number = 0
    try:
        for row in _read_lines(path, kind) if format_ == "jsonl" else _read_parquet(path, kind):
            number += 1
            yield row
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, msgspec.MsgspecError) as error:
        raise ExportDamaged(f"{path}, row {number + 1}: {error}; export again") from error


# -- JSON lines ---------------------------------------------------------------------------------------------


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._encode = msgspec.json.Encoder().encode_lines

    def write(self, page: Sequence[Record]) -> None:
        self._file.write(self._encode(page))

    def close(self) -> None:
        self._file.close()


def _read_lines(path: Path, kind: type[Record]) -> Iterator[Record]:
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        yield from map(decode, file)


# -- Parquet ------------------------------------------------------------------------------------------------


class _Parquet:
    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._arrow, parquet = arrow()
        self._columns = columns(kind)
        self._schema = self._arrow.schema([(each.name, _type(self._arrow, each.kind)) for each in self._columns])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, page: Sequence[Record]) -> None:
        values = {each.name: _to_cells(each, map(attrgetter(each.name), page)) for each in self._columns}
        self._writer.write_table(self._arrow.table(values, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _read_parquet(path: Path, kind: type[Record]) -> Iterator[Record]:
    _, parquet = arrow()
    known = {column.name: column for column in columns(kind)}
    with parquet.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name in known]
        for batch in file.iter_batches(batch_size=PAGE, columns=names):
            cells = [_from_cells(known[name], batch.column(name).to_pylist()) for name in names]
            for row in zip(*cells, strict=True):
                yield kind(**dict(zip(names, row, strict=True)))


def arrow() -> tuple[Any, Any]:
    """``pyarrow`` and ``pyarrow.parquet``; it has no types, costs 0.2 s to import, and few need it."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise HeadraceError("format parquet needs pyarrow: pip install 'headrace[parquet]', or use jsonl") from error


def _type(pa: Any, kind: ColumnKind) -> Any:
    """The large strings are in the file what the others are; in memory a page of them may pass 2 GiB."""
    types: dict[ColumnKind, Callable[[], Any]] = {
        "integer": pa.int64,
        "float": pa.float64,
        "boolean": pa.bool_,
        "bytes": pa.large_binary,
        "instant": lambda: pa.timestamp("us", tz="UTC"),
        "vector": lambda: pa.list_(pa.float32()),
    }
    return types.get(kind, pa.large_string)()


_TO_CELL: Final[Mapping[ColumnKind, Callable[[Any], Any]]] = {"json": json_text, "uuid": str, "decimal": str}
_FROM_CELL: Final[Mapping[ColumnKind, Callable[[Any], Any]]] = {
    "uuid": UUID,
    "decimal": Decimal,
    "vector": tuple,
    "instant": lambda value: value.astimezone(UTC),
}


def _to_cells(column: Column, values: Iterable[Any]) -> list[Any]:
    write = _TO_CELL.get(column.kind)
    return [value if value is None or write is None else write(value) for value in values]


def _from_cells(column: Column, cells: list[Any]) -> list[Any]:
    make = column.from_json if column.kind == "json" else _FROM_CELL.get(column.kind)
    return cells if make is None else [None if cell is None else make(cell) for cell in cells]
