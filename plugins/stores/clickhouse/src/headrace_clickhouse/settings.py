"""The ``[clickhouse]`` table, and where it says the server is."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from pydantic import BaseModel, Field, field_validator

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Settings(BaseModel, extra="forbid", frozen=True, hide_input_in_errors=True):
    """The ``[clickhouse]`` table. ``url`` is ``http(s)://user:password@host:port/database``."""

    url: str = Field(repr=False)
    disable_automatic_migrations: bool = False
    cluster: str | None = None
    async_insert: bool = False
    request_timeout_s: float = Field(default=60, gt=0)
    max_connections: int = Field(default=20, ge=1)

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        Address.of(url)
        return url

    @field_validator("cluster")
    @classmethod
    def _cluster(cls, cluster: str | None) -> str | None:
        if cluster is not None and not _NAME.fullmatch(cluster):
            raise ValueError("must be a name of letters, digits, '_' and '-'")
        return cluster


class Address(Struct, frozen=True):
    """Where the server is, and as whom to ask it. ``shown`` has no password."""

    base: str
    user: str
    password: str
    database: str
    shown: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Of a URL. Raise ValueError, which does not say the URL, for one that is not complete."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("is not a URL of the form http://user:password@host:8123/database") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be of the form http://user:password@host:8123/database")
        database = unquote(parts.path.strip("/")) or "default"
        if not _NAME.fullmatch(database):
            raise ValueError("the path must be the name of a database, of letters, digits, '_' and '-'")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        base = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        return cls(
            base, unquote(parts.username or "default"), unquote(parts.password or ""), database, f"{base}/{database}"
        )
