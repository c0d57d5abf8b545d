"""Reads an old ClickHouse over HTTP: one query a table, whose answer is taken in as it comes.

Its tables are not in the order of ids, so that a page by ids would read all of the table each time; a stream reads it
once, and holds a line at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
import msgspec

from .tables import TABLES, Row, SourceError, Table

_COLUMNS: Final = (
    "SELECT table, name, type FROM system.columns "
    "WHERE database = {database:String} AND table IN {tables:Array(String)}"
)
_ENGINES: Final = "SELECT name, engine FROM system.tables WHERE database = {database:String}"
# A store may take its time over a batch; the server gives up on a reader who takes nothing for three minutes.
_TIMEOUT: Final = httpx.Timeout(30, read=300)
_TOLD: Final = 300
_PLAIN: Final = ("UInt8", "UInt16", "UInt32")


class ClickHouse:
    """A database at ``http(s)://USER:PASSWORD@HOST:PORT/DATABASE``; ``open`` makes one. Nothing in it is changed."""

    def __init__(self, client: httpx.AsyncClient, database: str, where: str) -> None:
        self._client = client
        self._database = database
        self._where = where
        self._columns: dict[str, dict[str, str]] = {}
        self._engines: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[ClickHouse]:
        """Connect, and see what tables there are. Raise SourceError; no message has the password."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host:
            raise SourceError("--clickhouse-url: must be http://USER:PASSWORD@HOST:PORT/DATABASE (or https)")
        headers = {}
        if parts.username is not None:
            headers["X-ClickHouse-User"] = unquote(parts.username)
            headers["X-ClickHouse-Key"] = unquote(parts.password or "")
        bracketed = f"[{host}]" if ":" in host else host
        base = f"{parts.scheme}://{bracketed}:{port or (8443 if parts.scheme == 'https' else 8123)}"
        database = unquote(parts.path.strip("/")) or "default"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT, trust_env=False) as client:
            source = cls(client, database, f"ClickHouse at {base}, database {database}")
            await source._look()
            yield source

    async def has(self, table: Table) -> bool:
        """Whether it has this table."""
        return table.is_in_clickhouse and table.name in self._columns

    async def rows(self, table: Table) -> AsyncGenerator[Row, None]:
        """All rows of a table; of those that replace each other the newest. Raise SourceError."""
        types = self._columns[table.name]
        chosen = [
            f"{_expression(column, types[column])} AS {_quoted(name)}"
            for name in table.columns
            if (column := table.renamed.get(name, name)) in types
        ]
        sql = f"SELECT {', '.join(chosen)} FROM {_quoted(self._database)}.{_quoted(table.name)}"
        if "Replacing" in self._engines[table.name]:
            sql += " FINAL"
        if table.is_ordered:
            sql += f" ORDER BY toUInt128({_quoted(table.key)})"
        async with aclosing(self._rows(sql, {})) as rows:
            async for row in rows:
                yield row

    async def _rows(self, sql: str, parameters: Mapping[str, str]) -> AsyncGenerator[Row, None]:
        """What a statement answers. An error in the midst of it comes as text, in place of a row or of half of one."""
        async with aclosing(self._lines(sql, parameters)) as lines:
            async for line in lines:
                row = _decoded(line)
                if row is None:
                    with suppress(SourceError):
                        line += b"\n" + b"\n".join([each async for each in lines])
                    raise SourceError(f"{self._where}: broke off: {_said(line)}")
                yield row

    async def _look(self) -> None:
        names = [table.name for table in TABLES if table.is_in_clickhouse]
        listed = "[" + ",".join(f"'{name}'" for name in names) + "]"
        async for row in self._rows(_COLUMNS, {"tables": listed, "database": self._database}):
            self._columns.setdefault(row["table"], {})[row["name"]] = row["type"]
        async for row in self._rows(_ENGINES, {"database": self._database}):
            self._engines[row["name"]] = row["engine"]
        if not self._columns:
            raise SourceError(f"{self._where}: has no tables of TensorZero; is it the right database?")

    async def _lines(self, sql: str, parameters: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """The lines of the answer. Bytes, as U+2028 in a text ends no line here."""
        params = {f"param_{name}": value for name, value in parameters.items()}
        try:
            async with self._client.stream(
                "POST", "/", params=params, content=f"{sql} FORMAT JSONEachRow".encode()
            ) as reply:
                if reply.status_code != 200:
                    said = _said(await reply.aread())
                    raise SourceError(f"{self._where}: answered {reply.status_code}: {said}")
                begun: list[bytes] = []
                async for part in reply.aiter_bytes():
                    *ends, rest = part.split(b"\n")
                    for end in ends:
                        yield b"".join((*begun, end))
                        begun.clear()
                    begun.append(rest)
                if last := b"".join(begun):
                    yield last
        except httpx.HTTPError as error:
            raise SourceError(f"{self._where}: {type(error).__name__}: {error}") from error


def _decoded(line: bytes) -> Row | None:
    """A row, or None where this is none. What is no UTF-8, which ClickHouse does not forbid, is replaced."""
    try:
        row: Row = msgspec.json.decode(line.decode(errors="replace"), type=dict)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return row


def _said(text: bytes) -> str:
    """What the server says of a failure, without the rows that may come before it: they are nobody's business."""
    _, found, rest = text.rpartition(b"Code: ")
    return (found + rest).decode(errors="replace").strip()[:_TOLD] if found else "it says no more"


def _expression(column: str, type_: str) -> str:
    """The column such that JSON holds it exactly; an instant in UTC."""
    inner = type_.removeprefix("Nullable(")
    if inner.startswith("DateTime"):
        return f"toString(toTimeZone({_quoted(column)}, 'UTC'))"
    if inner.startswith("Decimal") or (inner.startswith("UInt") and not inner.startswith(_PLAIN)):
        return f"toString({_quoted(column)})"
    return _quoted(column)


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
