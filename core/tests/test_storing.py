"""Where records go: the store that is named, the database whose URL is set, or a file."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from headrace import Factory, Services, Store
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.errors import ConfigError
from headrace.plugins import Plugin, Registry
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from pydantic import BaseModel

CLICKHOUSE = {"TENSORZERO_CLICKHOUSE_URL": "http://localhost:8123/tensorzero"}
POSTGRES = {"HEADRACE_POSTGRES_URL": "postgresql://localhost/tensorzero"}
URL = "http://localhost:8123/tensorzero"


class Database(BaseModel, extra="ignore", frozen=True):
    url: str
    cluster: str | None = None
    disable_automatic_migrations: bool = False


class Kept(Memory):
    """A store that shows with which settings it was made."""

    def __init__(self, settings: Database, services: Services) -> None:
        super().__init__(MemorySettings(), services)
        self.settings = settings


class Clickhouse(Kept):
    """Of type ``clickhouse``."""


class Postgres(Kept):
    """Of type ``postgres``."""


def registry(*names: str) -> Registry:
    made: Mapping[str, Factory[Store]] = {
        "clickhouse": Factory("clickhouse", Database, Clickhouse),
        "postgres": Factory("postgres", Database, Postgres),
        "sqlite": Factory("sqlite", MemorySettings, Memory),
    }
    found = Registry()
    plugin = Plugin(name="stores", distribution="tests", version="0", state="loaded")
    found.add(plugin, [("store", made[name]) for name in names])
    return found


def store(toml: str, environ: Mapping[str, str], *names: str) -> object:
    assembly = Assembly(
        loads(toml), registry(*(names or ("sqlite", "postgres", "clickhouse"))), transport=Script(), environ=environ
    )
    assembly.parts.problems.check()
    return assembly.store


@pytest.mark.parametrize(
    ("toml", "environ", "kind"),
    [
        ("", {}, Memory),
        ("", POSTGRES, Postgres),
        ("", CLICKHOUSE, Clickhouse),
        ("", POSTGRES | CLICKHOUSE, Clickhouse),
        ("postgres.enabled = false", POSTGRES, Memory),
        ('gateway.observability.backend = "postgres"', POSTGRES | CLICKHOUSE, Postgres),
        ('gateway.observability.backend = "sqlite"', POSTGRES | CLICKHOUSE, Memory),
        ("gateway.observability.enabled = false", POSTGRES | CLICKHOUSE, type(None)),
        ('gateway.observability.backend = "clickhouse"', {}, type(None)),
    ],
)
def test_a_named_store_comes_before_a_url_and_a_url_before_a_file(
    toml: str, environ: Mapping[str, str], kind: type
) -> None:
    assert type(store(toml, environ)) is kind


def test_a_database_gets_its_url_and_its_own_table() -> None:
    environ = CLICKHOUSE | {"TENSORZERO_CLICKHOUSE_CLUSTER_NAME": "mill"}
    found = store("clickhouse.disable_automatic_migrations = true", environ)
    assert isinstance(found, Clickhouse)
    assert found.settings == Database(url=URL, cluster="mill", disable_automatic_migrations=True)


@pytest.mark.parametrize(
    ("toml", "environ", "names", "problem"),
    [
        (
            'gateway.observability = { enabled = true, backend = "clickhouse" }',
            {},
            ("clickhouse",),
            "gateway.observability.enabled: Missing environment variable TENSORZERO_CLICKHOUSE_URL.",
        ),
        ("postgres.enabled = true", {}, (), "postgres.enabled: Missing environment variable TENSORZERO_POSTGRES_URL."),
        (
            "",
            POSTGRES,
            ("sqlite",),
            "gateway.observability.backend: records are to go to postgres, whose plugin is not",
        ),
        (
            "",
            {"TENSORZERO_POSTGRES_URL": "a", "HEADRACE_POSTGRES_URL": "b"},
            (),
            "environment: TENSORZERO_POSTGRES_URL and HEADRACE_POSTGRES_URL are both set and differ",
        ),
    ],
)
def test_what_cannot_be_is_told_by_its_key(
    toml: str, environ: Mapping[str, str], names: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        store(toml, environ, *names)
    assert [line for line in caught.value.problems if line.startswith(problem)]
