"""Statements over ClickHouse's HTTP interface, and what its refusals mean; the only module that speaks HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice
from typing import Any, Final

import httpx
import msgspec
from headrace.errors import RecordRefused, StoreError

from .settings import Address, Settings
from .sql import Statement

# Of rows that the server could not read, however often it was asked. All other codes may pass: memory (241), too many
# parts (252), no space (243), read-only (164, 242), timeouts (159, 209), too many queries (202), being shut down (236).
_REFUSED: Final = frozenset({6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 376, 407, 441, 467})
UNKNOWN_DATABASE: Final = 81
UNKNOWN_TABLE: Final = 60
TABLE_ALREADY_EXISTS: Final = 57

_READ: Final[Mapping[str, str]] = {
    "default_format": "JSONCompactEachRow",
    # An error after the first rows would otherwise come in the middle of an answer of status 200.
    "wait_end_of_query": "1",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_denormals": "0",
    "join_use_nulls": "1",
}
_WRITE: Final[Mapping[str, str]] = {
    # Otherwise 0.1 may come back as its neighbour.
    "precise_float_parsing": "1",
    # One block, which is one part, which is all or nothing: no parallel pieces, and no limit that a batch can meet.
    "input_format_parallel_parsing": "0",
    "max_insert_block_size": "100000000",
    "min_insert_block_size_rows": "100000000",
    "min_insert_block_size_bytes": "17179869184",
    "wait_for_async_insert": "1",
}
# Of an insert, how many rows are made into one piece of its body: some ms of work for us, as for the server.
_ROWS_AT_ONCE: Final = 250
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(list[Any])


class Refusal(StoreError):
    """What the server answered instead; ``code`` is ClickHouse's own number of the error, or 0."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Whole(httpx.AsyncByteStream):
    """A body in one piece; no generator, as httpx's own is, which is left open where a write is cancelled."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._body)


class _Rows(httpx.AsyncByteStream):
    """The rows of an insert, encoded as they leave: the server reads the first while the next are made."""

    def __init__(self, rows: Iterable[list[Any]]) -> None:
        self._rows = rows

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Lines(self._rows)


class _Lines:
    def __init__(self, rows: Iterable[list[Any]]) -> None:
        self._left = iter(rows)

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> bytes:
        some = list(islice(self._left, _ROWS_AT_ONCE))
        if not some:
            raise StopAsyncIteration
        return _ENCODER.encode_lines(some)


class _Once:
    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class Client:
    """A pool of connections to one server. An async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._address = Address.of(settings.url)
        self._insert = {**_WRITE, "async_insert": str(int(settings.async_insert))}
        if settings.cluster is not None:
            # A majority of the replicas has a row before we say so.
            self._insert["insert_quorum"] = "auto"
        self._http = httpx.AsyncClient(
            base_url=self._address.base,
            headers={"X-ClickHouse-User": self._address.user, "X-ClickHouse-Key": self._address.password},
            timeout=settings.request_timeout_s,
            limits=httpx.Limits(max_connections=settings.max_connections),
            trust_env=False,
            verify=self._address.base.startswith("https:"),  # certificates take 27 ms to load
        )

    @property
    def database(self) -> str:
        """The database that statements are for."""
        return self._address.database

    @property
    def where(self) -> str:
        """The server and database, for messages."""
        return self._address.shown

    async def rows(self, statement: Statement | str, **settings: str) -> list[list[Any]]:
        """What a query finds."""
        body = await self._statement(statement, self.database, {**_READ, **settings})
        return _DECODER.decode_lines(body)

    async def run(self, statement: Statement | str, *, database: str | None = None, **settings: str) -> None:
        """A statement that finds nothing; ``database`` "" is for one that makes the database."""
        chosen = self.database if database is None else database
        await self._statement(statement, chosen, {"wait_end_of_query": "1", **settings})

    async def insert(self, into: str, rows: Iterable[list[Any]]) -> None:
        """Write rows: all of them or none. Raise RecordRefused for rows that the server cannot read."""
        query = {"query": f"INSERT INTO {into} FORMAT JSONCompactEachRow", "database": self.database, **self._insert}
        try:
            await self._post(query, _Rows(rows))
        except Refusal as error:
            if error.code in _REFUSED:
                raise RecordRefused(str(error)) from error
            raise

    async def _statement(self, statement: Statement | str, database: str, settings: Mapping[str, str]) -> bytes:
        made = Statement(statement) if isinstance(statement, str) else statement
        url = {"database": database} if database else {}
        url.update(settings)
        parts: dict[str, Any] = {"query": (None, made.text)}
        for name, value in made.parameters.items():
            parts[f"param_{name}"] = (None, value)
        for name, (structure, rows) in made.tables.items():
            url[f"{name}_structure"] = structure
            url[f"{name}_format"] = "JSONCompactEachRow"
            parts[name] = (name, _ENCODER.encode_lines(rows))
        return await self._post(url, parts)

    async def _post(self, url: Mapping[str, str], body: dict[str, Any] | _Rows) -> bytes:
        try:
            if isinstance(body, _Rows):
                request = self._http.build_request("POST", "/", params=url, content=body)
                request.stream = body
            else:
                request = self._http.build_request("POST", "/", params=url, files=body)
                request.stream = _Whole(request.read())
            reply = await self._http.send(request)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            said = str(error) or type(error).__name__
            raise StoreError(f"clickhouse store {self.where}: the server does not answer: {said}") from error
        if reply.status_code == 200 and "X-ClickHouse-Exception-Code" not in reply.headers:
            return reply.content
        code = reply.headers.get("X-ClickHouse-Exception-Code", "0")
        text = reply.text.strip()[:1000] or f"status {reply.status_code}"
        raise Refusal(f"clickhouse store {self.where}: {text}", int(code) if code.isdecimal() else 0)

    async def __aenter__(self) -> Client:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()
