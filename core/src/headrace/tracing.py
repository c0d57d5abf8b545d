"""Spans under way: what a tracer plugin promises, which span the running code is in, and who waits for their end.

Nothing here is reached while traces are off. The wrappers in ``traced`` and ``http.tracing`` call it; they exist only
where a tracer is configured.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeAlias, TypeVar

import anyio
from msgspec import Struct

from .errors import HeadraceError

log = logging.getLogger(__name__)

T = TypeVar("T")
Attribute: TypeAlias = str | bool | int | float
Attributes: TypeAlias = Mapping[str, Attribute]

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")

# How long a gateway that closes waits for spans that have not ended: streams and writes are done by then, or lost.
_END_WITHIN_S = 5.0


class Custom(Struct, frozen=True):
    """What one request wants for its own trace: headers of the export, attributes of the resource, of every span."""

    headers: Mapping[str, str] = {}
    resource: Mapping[str, str] = {}
    attributes: Attributes = {}


NOTHING_CUSTOM = Custom()


class Span(Protocol):
    """One span of a tracer. Values may be anything a caller sent; to make them fit the wire is the tracer's business.

    ``end`` or ``discard`` is called once, and nothing after it.
    """

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def event(self, name: str, attributes: Attributes) -> None:
        """Note that something happened just now."""

    def headers(self) -> Mapping[str, str]:
        """W3C trace context, for a request that is made inside of this span."""

    def end(self, error: str | None = None) -> None:
        """Well, or with what went wrong (perhaps "", which says nothing more)."""

    def discard(self) -> None:
        """Leave it out: it turned out to be none."""


class Tracer(Protocol):
    """Where spans go. Calls are from one event loop, must not block, and never raise.

    If it is an async context manager, leaving it writes what is left, within a bounded time.
    """

    def root(self, name: str, attributes: Attributes, *, context: Mapping[str, str], custom: Custom) -> Span:
        """The span of one request. ``context`` holds ``traceparent`` and ``tracestate``, as far as they came."""

    def child(self, name: str, attributes: Attributes, parent: Span) -> Span:
        """A span inside another one, of the same trace."""


class Tracing:
    """One gateway's tracer. An async context manager: on leaving, spans that are about to end are waited for."""

    def __init__(self, tracer: Tracer, end_within_s: float = _END_WITHIN_S) -> None:
        self.tracer = tracer
        self.under_way = 0
        self._end_within_s = end_within_s
        self._none_left = anyio.Event()
        self._events = _Events(self)

    async def __aenter__(self) -> Tracing:
        logging.getLogger().addHandler(self._events)
        return self

    async def __aexit__(self, *exc: object) -> None:
        logging.getLogger().removeHandler(self._events)
        self._none_left = anyio.Event()
        if self.under_way:
            with anyio.move_on_after(self._end_within_s, shield=True):
                await self._none_left.wait()
        if self.under_way:
            log.warning("%d spans had not ended when the gateway closed, and are lost", self.under_way)

    def root(
        self, name: str, attributes: Attributes, *, context: Mapping[str, str], custom: Custom = NOTHING_CUSTOM
    ) -> Node:
        """The span of one request."""
        return Node(self, name, self.tracer.root(name, attributes, context=context, custom=custom))

    def began(self) -> None:
        """Count a span."""
        self.under_way += 1

    def ended(self) -> None:
        """Count it off."""
        self.under_way -= 1
        if not self.under_way:
            self._none_left.set()


class Node:
    """A span under way, and where it stands. ``function_name`` is the function that it works for, once that is known.

    ``detail`` is for whoever opened it. It ends once; whatever is said of it later is dropped.
    """

    __slots__ = ("_is_open", "detail", "function_name", "name", "parent", "span", "tracing")

    def __init__(
        self, tracing: Tracing, name: str, span: Span, parent: Node | None = None, detail: object = None
    ) -> None:
        self.tracing = tracing
        self.name = name
        self.span = span
        self.parent = parent
        self.detail = detail
        self.function_name: str | None = parent.function_name if parent is not None else None
        self._is_open = True
        tracing.began()

    def child(self, name: str, attributes: Attributes, detail: object = None) -> Node:
        """A span inside this one."""
        return Node(self.tracing, name, self.tracing.tracer.child(name, attributes, self.span), self, detail)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        if self._is_open:
            self.span.set(attributes)

    def event(self, name: str, attributes: Attributes) -> None:
        """Note that something happened just now."""
        if self._is_open:
            self.span.event(name, attributes)

    def end(self, error: str | None = None) -> None:
        """Well, or with what went wrong."""
        if self._is_open:
            self._is_open = False
            self.span.end(error)
            self.tracing.ended()

    def discard(self) -> None:
        """Leave it out."""
        if self._is_open:
            self._is_open = False
            self.span.discard()
            self.tracing.ended()


_current: ContextVar[Node | None] = ContextVar("headrace_span", default=None)


def current() -> Node | None:
    """The span that the running code is in; None outside of traced requests."""
    return _current.get()


def enter(node: Node) -> None:
    """Be in this span from now on, until the one around it is left."""
    _current.set(node)


@contextmanager
def within(node: Node) -> Iterator[Node]:
    """Be in this span for a while. It does not end with that."""
    token = _current.set(node)
    try:
        yield node
    finally:
        _current.reset(token)


@contextmanager
def during(node: Node) -> Iterator[Node]:
    """Be in this span until it ends, with the error that is raised if one is."""
    with within(node):
        try:
            yield node
        except BaseException as error:
            node.end(told(error))
            raise
        node.end()


async def through(
    node: Node, begin: Callable[[], AsyncGenerator[T, None]], last: Callable[[Node | None], None] | None = None
) -> AsyncGenerator[T, None]:
    """The pieces of what ``begin`` gives, made inside of this span, which ends with them.

    A generator runs in the context of whoever asks it, so what it enters is kept here from one piece to the next.
    ``last`` is told at the end, however that comes, which span was entered last.
    """
    with within(node):
        pieces = begin()
    here: Node | None = node
    error: BaseException | None = None
    try:
        while True:
            token = _current.set(here)
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                break
            finally:
                here = _current.get()
                _current.reset(token)
            yield piece
    except BaseException as raised:
        error = raised
        raise
    finally:
        token = _current.set(here)
        try:
            await pieces.aclose()
        finally:
            _current.reset(token)
            if last is not None:
                last(here)
            node.end(None if error is None else told(error))


def fits_export(name: str, value: str) -> bool:
    """Whether this can be metadata of an export, over gRPC and over HTTP alike."""
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value)) and not name.endswith("-bin")


def told(error: BaseException) -> str:
    """What a span says of an error. Our own mistakes are logged, not exported."""
    if isinstance(error, HeadraceError):
        return str(error)
    if isinstance(error, GeneratorExit):
        return "the stream was closed before its end"
    if isinstance(error, Exception):
        return f"Internal error: {type(error).__name__}"
    return "cancelled before its end"


class _Events(logging.Handler):
    """Errors that are logged inside of a span become events of it."""

    def __init__(self, tracing: Tracing) -> None:
        super().__init__(logging.ERROR)
        self._tracing = tracing

    def emit(self, record: logging.LogRecord) -> None:
        node = _current.get()
        if node is not None and node.tracing is self._tracing:
            node.event(record.getMessage(), {"level": record.levelname, "target": record.name})
