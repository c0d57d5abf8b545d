"""The table, the environment and what they come to: one place, with credentials, or an error at start-up."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from headrace import Services
from headrace.errors import ConfigError
from pydantic import BaseModel

_REFUSED = ("dynamic::", "path::", "path_from_env::")


class Settings(BaseModel, extra="forbid", frozen=True, strict=True):
    """An ``[object_storage]`` table with ``type = "s3_compatible"``."""

    bucket_name: str | None = None
    region: str | None = None
    endpoint: str | None = None
    allow_http: bool | None = None


@dataclass(frozen=True)
class Place:
    """Which bucket, where. ``credentials`` are boto3's keyword arguments; empty means its own chain."""

    bucket: str
    region: str | None
    endpoint: str | None
    credentials: dict[str, str | None] = field(repr=False)


def place(settings: Settings, services: Services) -> Place:
    """Look everything up. Raise ConfigError."""
    bucket = settings.bucket_name or _variable(services, "AWS_BUCKET_NAME") or _variable(services, "AWS_BUCKET")
    if not bucket:
        raise ConfigError("`bucket_name` is missing (nor is AWS_BUCKET_NAME set): name the bucket for files")
    return Place(
        bucket,
        settings.region or _variable(services, "AWS_REGION") or _variable(services, "AWS_DEFAULT_REGION"),
        _endpoint(settings, services),
        _credentials(services),
    )


def _endpoint(settings: Settings, services: Services) -> str | None:
    said = settings.endpoint
    if said is None:
        return None
    if said.startswith(_REFUSED) or said in ("sdk", "none"):
        raise ConfigError(f"`endpoint` is a URL or `env::VARIABLE`, found `{said}`")
    url = services.secret(said).reveal({}) or "" if said.startswith("env::") else said
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"`endpoint` is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("`endpoint` must be a URL that starts with https:// or http://")
    if "@" in parts.netloc:
        raise ConfigError("`endpoint` has credentials in it, which records would show: set S3_ACCESS_KEY_ID instead")
    allowed = settings.allow_http
    if allowed is None:
        allowed = (_variable(services, "AWS_ALLOW_HTTP") or "").lower() in ("true", "1")
    if parts.scheme == "http" and not allowed:
        raise ConfigError("`endpoint` is not encrypted: use https://, or set `allow_http = true`")
    return url


def _credentials(services: Services) -> dict[str, str | None]:
    """``S3_*``, then ``AWS_*``; otherwise boto3 looks where the SDK does (profiles, web identity, a role)."""
    key, secret = _variable(services, "S3_ACCESS_KEY_ID"), _variable(services, "S3_SECRET_ACCESS_KEY")
    if key is not None and secret is None:
        raise ConfigError("S3_ACCESS_KEY_ID is set but S3_SECRET_ACCESS_KEY is not: set both or neither")
    if key is not None:
        return {"aws_access_key_id": key, "aws_secret_access_key": secret}
    key, secret = _variable(services, "AWS_ACCESS_KEY_ID"), _variable(services, "AWS_SECRET_ACCESS_KEY")
    if key is None or secret is None:
        return {}
    token = _variable(services, "AWS_SESSION_TOKEN")
    return {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_session_token": token}


def _variable(services: Services, name: str) -> str | None:
    """An environment variable that need not be set."""
    try:
        return services.secret(f"env::{name}").reveal({})
    except ConfigError:
        return None
