"""Where answers are kept: ClickHouse if records are there, else Valkey if it is named, else the store itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import httpx
import pytest
from headrace import Factory, Services
from headrace.assembly import Assembly
from headrace.cache import AnswerCache
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.contracts import Cache
from headrace.errors import ConfigError, StoreError
from headrace.http.app import create_app
from headrace.plugins import Plugin, Registry
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

CLICKHOUSE = {"TENSORZERO_CLICKHOUSE_URL": "http://localhost:8123/tensorzero"}
VALKEY = {"HEADRACE_VALKEY_URL": "valkey://limits"}
VALKEY_CACHE = {"TENSORZERO_VALKEY_CACHE_URL": "valkey://answers"}


class StoreSettings(BaseModel, extra="ignore", frozen=True):
    url: str = ""


class CacheSettings(BaseModel, extra="forbid", frozen=True):
    url: str
    ttl_s: int = 86_400


class Kept(Memory):
    """A store that is a cache as well."""

    def __init__(self, settings: StoreSettings, services: Services) -> None:
        super().__init__(MemorySettings(), services)


class Valkey:
    """A cache that shows with which settings it was made, and answers pings only if its URL says so."""

    def __init__(self, settings: CacheSettings, services: Services) -> None:
        self.settings = settings

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        return None

    async def cache(self, key: str, entry: bytes) -> None:
        pass

    async def ping(self) -> None:
        if "away" in self.settings.url:
            raise StoreError("away")


class Seen:
    """What an assembly has built."""

    def __init__(self, toml: str, *environs: Mapping[str, str], valkey: bool = True) -> None:
        self.caches: list[Valkey] = []
        found = Registry()
        plugin = Plugin(name="caches", distribution="tests", version="0", state="loaded")
        found.add(plugin, [("store", Factory(name, StoreSettings, Kept)) for name in ("sqlite", "clickhouse")])
        if valkey:
            found.add(plugin, [("cache", Factory("valkey", CacheSettings, self._cache))])
        environ = {name: value for each in environs for name, value in each.items()}
        self.assembly = Assembly(loads(toml), found, transport=Script(), environ=environ)
        self.assembly.parts.problems.check()

    def _cache(self, settings: CacheSettings, services: Services) -> Cache:
        self.caches.append(Valkey(settings, services))
        return self.caches[-1]

    @property
    def url(self) -> str:
        """Of the cache that was built, "" if none was."""
        return self.caches[0].settings.url if self.caches else ""


@pytest.mark.parametrize(
    ("toml", "environ", "url"),
    [
        ("", {}, ""),
        ("", VALKEY, "valkey://limits"),
        ("", VALKEY | VALKEY_CACHE, "valkey://answers"),
        ("", VALKEY | CLICKHOUSE, ""),
        ('gateway.cache.backend = "sqlite"', VALKEY, ""),
        ('gateway.cache.backend = "valkey"', VALKEY | CLICKHOUSE, "valkey://limits"),
        ('gateway.cache.backend = "valkey"\ngateway.cache.valkey.url = "valkey://mine"', VALKEY, "valkey://mine"),
        ('gateway.cache.valkey.url = "valkey://mine"', VALKEY | VALKEY_CACHE, "valkey://mine"),
        ("gateway.observability.enabled = false", VALKEY, "valkey://limits"),
    ],
    ids=["store", "valkey", "two", "clickhouse", "named-store", "named", "own-url", "only-url", "no-records"],
)
def test_answers_are_kept_where_the_configuration_or_the_environment_says(
    toml: str, environ: Mapping[str, str], url: str
) -> None:
    seen = Seen(toml, environ)
    assert isinstance(seen.assembly.answers, AnswerCache)
    assert seen.url == url


def test_no_cache_is_built_where_caching_is_off() -> None:
    seen = Seen("gateway.cache.enabled = false", VALKEY)
    assert (seen.assembly.answers, seen.caches) == (None, [])


def test_a_cache_has_the_keys_of_its_table() -> None:
    assert Seen("gateway.cache.valkey.ttl_s = 5", VALKEY).caches[0].settings.ttl_s == 5


def test_valkey_by_name_needs_its_address() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.cache\.backend: Missing environment variable TENSORZERO_VALKEY_U"):
        Seen('gateway.cache.backend = "valkey"')


def test_valkey_by_name_needs_its_plugin() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.cache\.backend"):
        Seen('gateway.cache.backend = "valkey"', VALKEY, valkey=False)


def test_a_valkey_that_nobody_can_use_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert isinstance(Seen("", VALKEY, valkey=False).assembly.answers, AnswerCache)
    assert "pip install headrace-valkey" in caplog.text


@pytest.mark.parametrize(
    "toml", ['gateway.cache.backend = "valkey"', "gateway.cache.enabled = true"], ids=["named", "enabled"]
)
async def test_a_gateway_does_not_start_without_the_valkey_that_it_is_told_to_use(toml: str) -> None:
    with pytest.raises(StoreError, match="away"):
        async with Seen(toml, {"HEADRACE_VALKEY_URL": "valkey://away"}).assembly.gateway():
            pass


@pytest.mark.parametrize(
    ("environ", "status", "valkey", "valkey_cache"),
    [
        ({}, 200, "ok", "ok"),
        (VALKEY, 200, "ok", "ok"),
        ({"HEADRACE_VALKEY_URL": "valkey://away"}, 503, "error", "error"),
        ({"HEADRACE_VALKEY_CACHE_URL": "valkey://away"}, 503, "ok", "error"),
    ],
    ids=["none", "well", "away", "cache-away"],
)
async def test_health_tells_the_truth_of_valkey(
    environ: Mapping[str, str], status: int, valkey: str, valkey_cache: str
) -> None:
    async with Seen("", environ).assembly.gateway() as gateway:
        app = create_app(gateway, owns_gateway=False)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            reply = await http.get("/health")
    assert (reply.status_code, reply.json()["valkey"], reply.json()["valkey_cache"]) == (status, valkey, valkey_cache)
    assert reply.json()["store"] == "ok"
