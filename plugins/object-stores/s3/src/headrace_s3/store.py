"""boto3 in worker threads: it runs on asyncio and trio alike, and finds credentials wherever AWS's own tools do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from headrace import Services
from headrace.errors import ObjectStoreError
from headrace.media import is_key

from .settings import Settings, place

__all__ = ["S3", "Settings"]

T = TypeVar("T")

# As many threads, and as many connections.
_AT_ONCE = 32


class S3:
    """A bucket. An async context manager: the client and its connections live inside."""

    def __init__(self, settings: Settings, services: Services) -> None:
        """Raise ConfigError for a table, or an environment, that names no usable place. Nothing is sent yet."""
        self._settings = settings
        self._place = place(settings, services)
        self._timeout_s = min(60.0, services.outbound_timeout_s)
        self._client: Any = None
        self._threads: CapacityLimiter | None = None

    @property
    def kind(self) -> dict[str, Any]:
        """Where the bucket is; no credentials."""
        return {
            "type": "s3_compatible",
            "bucket_name": self._place.bucket,
            "region": self._settings.region,
            "endpoint": self._place.endpoint,
            "allow_http": self._settings.allow_http,
        }

    async def __aenter__(self) -> S3:
        self._threads = CapacityLimiter(_AT_ONCE)
        # In a thread: boto3 reads its own models, and may have to ask the machine for credentials.
        with _errors("open", self._place.bucket):
            self._client = await to_thread.run_sync(self._connect)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def put(self, path: str, data: bytes, mime_type: str | None = None) -> None:
        """Write an object whole; durable as the bucket is when this returns."""
        extra = {"ContentType": mime_type} if mime_type else {}
        send = partial(self._open().put_object, Bucket=self._place.bucket, Key=_key(path), Body=data, **extra)
        with _errors("write", path):
            await to_thread.run_sync(send, limiter=self._threads)

    async def get(self, path: str) -> bytes:
        """The object. Raise ObjectStoreError if there is none."""
        with _errors("read", path):
            return await to_thread.run_sync(
                partial(_read, self._open().get_object, Bucket=self._place.bucket, Key=_key(path)),
                limiter=self._threads,
            )

    def _open(self) -> Any:
        if self._client is None:
            raise ObjectStoreError("s3_compatible: not open")
        return self._client

    def _connect(self) -> Any:
        # A quarter of a second that a gateway without a bucket need not spend.
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]

        config = Config(
            connect_timeout=min(10.0, self._timeout_s),
            read_timeout=self._timeout_s,
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=_AT_ONCE,
            # Other servers than AWS's know neither its newer checksums nor, often, a bucket in the host's name.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if self._place.endpoint else "auto"},
        )
        session = boto3.session.Session(**self._place.credentials, region_name=self._place.region)
        return session.client("s3", endpoint_url=self._place.endpoint, config=config)


def _read(get_object: Callable[..., Any], **what: str) -> bytes:
    body = get_object(**what)["Body"]
    try:
        data: bytes = body.read()
    finally:
        body.close()
    return data


def _key(path: str) -> str:
    if not is_key(path):
        raise ObjectStoreError(f"s3_compatible: {path[:200]!r} is not a key")
    return path


@contextmanager
def _errors(what: str, path: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ObjectStoreError(f"s3_compatible: cannot {what} {path[:200]!r}: {error}") from None
