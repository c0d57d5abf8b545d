"""What is configured of the cache and of the rate limits, and which URLs name a server."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, Field, field_validator

_SCHEMES = ("valkey", "valkeys", "redis", "rediss")
# Of what valkey-py reads from a URL: how to trust the server, and how to be trusted by it.
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_FORM = "must be of the form valkey://user:password@host:6379/0 (schemes: valkey, valkeys, redis, rediss)"


class BucketsSettings(BaseModel, extra="forbid", frozen=True, hide_input_in_errors=True):
    """Where the rate limits are. ``url`` is ``valkey(s)://user:password@host:port/database``."""

    url: str = Field(repr=False)

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        shown(url)
        return url


class CacheSettings(BucketsSettings, extra="forbid", frozen=True, hide_input_in_errors=True):
    """The ``[gateway.cache.valkey]`` table. An answer is forgotten ``ttl_s`` seconds after it was kept."""

    ttl_s: int = Field(default=86_400, ge=1, le=2**40)


def shown(url: str) -> str:
    """The address of a server, without name and password. Raise ValueError, which does not say the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        raise ValueError(_FORM) from None
    database = parts.path.removeprefix("/") or "0"
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(_FORM)
    if not (database.isascii() and database.isdecimal()):
        raise ValueError("the path must be the number of a database")
    if unknown := sorted(set(parse_qs(parts.query, keep_blank_values=True)) - set(_TLS)):
        raise ValueError(f"unknown parameter {unknown[0]!r} (known: {', '.join(_TLS)})")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}/{database}"


def tls(url: str) -> dict[str, bool]:
    """What a connection needs beside its URL: valkey-py does not look for the host in a certificate unless told to."""
    return {"ssl_check_hostname": True} if urlsplit(url).scheme in ("valkeys", "rediss") else {}
