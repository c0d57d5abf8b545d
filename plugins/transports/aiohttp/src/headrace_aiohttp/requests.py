"""A ``Call`` as bytes: where it goes, and the head, in which nothing a caller wrote can end a line."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from headrace import __version__
from headrace.transport import Call
from yarl import URL

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NO_TARGET = re.compile(r"[^\x21-\x7e]")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Bodies are recorded as they came, and many small compressed pieces cost more than they save.
OURS = {"accept-encoding": "identity", "user-agent": f"headrace/{__version__}"}

# How the message is framed is for whoever frames it: a caller's word on it could make two requests of one.
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


class Origin(NamedTuple):
    """Whom a connection leads to."""

    scheme: str
    host: str
    port: int


class Place(NamedTuple):
    """What a URL says: whom to ask, for what, and under which name."""

    origin: Origin
    target: str
    host: str


@lru_cache(maxsize=1024)
def place_of(url: str) -> Place | None:
    """None for what is not ours to send: a name and password, say. Raise ValueError for what is no URL."""
    parsed = URL(url, encoded=True)  # as it stands: yarl would undo percent-encoding that some upstreams sign
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.raw_host or parsed.port is None or parsed.raw_user:
        return None
    target = parsed.raw_path_qs or "/"
    if found := _NO_TARGET.search(target):
        raise ValueError(f"a URL's path cannot hold {found[0]!r}: it is to be percent-encoded")
    host = f"[{parsed.raw_host}]" if ":" in parsed.raw_host else parsed.raw_host
    if parsed.port != _DEFAULT_PORTS[parsed.scheme]:
        host = f"{host}:{parsed.port}"
    if _NO_TARGET.search(host):
        return None  # a name to be encoded first
    return Place(Origin(parsed.scheme, parsed.raw_host, parsed.port), target, host)


def request(call: Call, place: Place) -> bytes:
    """Head and body. Raise ValueError for a header that cannot be sent."""
    headers = dict(OURS)
    for name, value in call.headers.items():
        key = _checked(name)
        if key not in _FRAMING:
            headers[key] = value
    host = headers.pop("host", place.host)
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"host: {host}\r\n{lines}"
    # As many ends of lines as lines were written, and no other control character: then no value holds any.
    count = len(headers) + 1
    if head.count("\r") != count or head.count("\n") != count or _NO_VALUE.search(head):
        raise ValueError("a header's value cannot hold a line break or another control character")
    length = f"content-length: {len(call.body)}\r\n" if call.body or call.method in ("POST", "PUT", "PATCH") else ""
    return f"{_checked(call.method).upper()} {place.target} HTTP/1.1\r\n{head}{length}\r\n".encode() + call.body


@lru_cache(maxsize=1024)
def _checked(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header or method")
    return name.lower()
