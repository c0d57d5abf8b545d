"""``[gateway]`` and the tables below it (config spec 4)."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, FiniteFloat, PositiveInt, field_validator, model_validator

from ..credentials import Location
from .base import U64, Table


class BatchWrites(Table):
    """``[gateway.observability.batch_writes]``: how many rows, or how long, before a flush."""

    enabled: bool
    flush_interval_ms: PositiveInt = 100
    max_rows: PositiveInt = 1000
    max_rows_postgres: PositiveInt | None = None
    write_queue_capacity: PositiveInt | None = None
    # TensorZero's embedded clients need it; it means nothing to a server.
    force_allow_embedded_batch_writes: bool = Field(default=False, alias="__force_allow_embedded_batch_writes")


class Observability(Table):
    """``[gateway.observability]``: whether, where and how inferences are recorded."""

    enabled: bool | None = None
    backend: str = "auto"
    async_writes: bool = True
    batch_writes: BatchWrites | None = None
    disable_automatic_migrations: bool = False

    @model_validator(mode="after")
    def _one_way_to_write(self) -> Observability:
        if self.async_writes and self.batch_writes and self.batch_writes.enabled:
            raise ValueError(
                "Batch writes and async writes cannot be enabled at the same time: set `async_writes = false`"
            )
        return self


class AuthCache(Table):
    """``[gateway.auth.cache]``: key look-ups kept in this process, for ``ttl_ms`` milliseconds."""

    enabled: bool = True
    ttl_ms: U64 = 1000


class AuthTable(Table):
    """``[gateway.auth]``; ``enabled`` is required as soon as the table is there."""

    enabled: bool
    cache: AuthCache = AuthCache()


class CacheTable(Table):
    """``[gateway.cache]``. A further table, such as ``valkey = { ttl_s }``, belongs to the cache plugin of its name."""

    model_config = ConfigDict(extra="allow")

    enabled: bool | None = None
    backend: str = "auto"

    @model_validator(mode="after")
    def _tables_of_plugins(self) -> CacheTable:
        wrong = [key for key, value in (self.model_extra or {}).items() if not isinstance(value, dict)]
        if wrong:
            raise ValueError("\n".join(f".{key}: unknown key (extra inputs are not permitted)" for key in wrong))
        return self

    def table(self, backend: str) -> dict[str, Any]:
        """The keys of ``[gateway.cache.BACKEND]``; none if there is no such table."""
        return dict((self.model_extra or {}).get(backend, {}))


class TracesTable(Table):
    """``[gateway.export.otlp.traces]``."""

    enabled: bool = False
    format: Literal["opentelemetry", "openinference"] = "opentelemetry"
    extra_headers: dict[str, str] = Field(default={})
    include_content: bool = False


class OtlpTable(Table):
    """``[gateway.export.otlp]``."""

    traces: TracesTable = TracesTable()


class ExportTable(Table):
    """``[gateway.export]``."""

    otlp: OtlpTable = OtlpTable()


class GatewayMetricsTable(Table):
    """``[gateway.metrics]``: bounds, in seconds, of the histogram's buckets; none makes it a summary."""

    tensorzero_inference_latency_overhead_seconds_buckets: list[FiniteFloat] = Field(default=[0.001, 0.01, 0.1])

    @field_validator("tensorzero_inference_latency_overhead_seconds_buckets")
    @classmethod
    def _ascending(cls, bounds: list[float]) -> list[float]:
        if any(bound < 0 for bound in bounds) or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"buckets must be >= 0 and strictly ascending, found {bounds}")
        return bounds


class RelayTable(Table):
    """``[gateway.relay]``: another gateway that runs the models. Without ``gateway_url`` it means nothing."""

    gateway_url: str | None = None
    api_key_location: Location = "none"

    @field_validator("gateway_url")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"must be a URL such as https://gateway.example.com, found {value!r}")
        return value


class TemplateFiles(Table):
    """``[gateway.template_filesystem_access]``: templates below ``base_path`` may be included by others."""

    base_path: str | None = None
    enabled: bool | None = None


class GatewayTable(Table):
    """``[gateway]``."""

    bind_address: str | None = None
    base_path: str = "/"
    debug: bool = False
    unstable_error_json: bool = False
    unstable_disable_feedback_target_validation: bool = False
    disable_pseudonymous_usage_analytics: bool = False
    fetch_and_encode_input_files_before_inference: bool = False
    global_outbound_http_timeout_ms: PositiveInt = 900_000
    auth: AuthTable | None = None
    observability: Observability = Observability()
    cache: CacheTable = CacheTable()
    export: ExportTable = ExportTable()
    metrics: GatewayMetricsTable = GatewayMetricsTable()
    relay: RelayTable = RelayTable()
    template_filesystem_access: TemplateFiles = TemplateFiles()

    @field_validator("bind_address")
    @classmethod
    def _literal(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        try:
            ip_address(host.removeprefix("[").removesuffix("]"))
            if not (port.isdecimal() and int(port) < 2**16):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"must be IP:PORT with a literal address, such as 127.0.0.1:3000, found {value!r}"
            ) from None
        return value

    @field_validator("base_path")
    @classmethod
    def _rooted(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(f"[gateway.base_path] must start with a / : found {value!r}")
        return value.rstrip("/") or "/"
