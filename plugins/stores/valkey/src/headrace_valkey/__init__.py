"""Valkey (or Redis) for headrace: cached answers and rate limits that many gateways share."""

from headrace import Factory, hookimpl
from headrace.contracts import Buckets, Cache

from .buckets import ValkeyBuckets
from .cache import ValkeyCache
from .settings import BucketsSettings, CacheSettings

__all__ = ["BucketsSettings", "CacheSettings", "ValkeyBuckets", "ValkeyCache"]


@hookimpl
def headrace_caches() -> list[Factory[Cache]]:
    """Offer ``gateway.cache.backend = "valkey"``."""
    return [Factory("valkey", CacheSettings, ValkeyCache)]


@hookimpl
def headrace_buckets() -> list[Factory[Buckets]]:
    """Offer ``rate_limiting.backend = "valkey"``."""
    return [Factory("valkey", BucketsSettings, ValkeyBuckets)]
