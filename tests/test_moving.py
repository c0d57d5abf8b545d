"""A store's records go through other databases and come back as they were: the checksums say so."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from engines.clickhouse import clickhouse_database, clickhouse_server
from engines.postgres import postgres_database, postgres_server
from headrace import Services, Store, plugins
from headrace.assembly.parts import NoTransport
from headrace.cli import headrace
from headrace.conformance.rows import comment, datapoint, inference, model_inference, uid
from headrace.conformance.rows_every import EVERY, HOSTILE
from headrace.contracts import SystemClock
from headrace.credentials import Credentials
from headrace.moving import Manifest, export, import_, verify
from headrace.records import ConfigSnapshot, Record
from msgspec import structs

__all__ = ["clickhouse_database", "clickhouse_server", "postgres_database", "postgres_server"]

pytestmark = pytest.mark.anyio

DATABASES = {"postgres": "postgres_database", "clickhouse": "clickhouse_database"}
WAYS = [
    pytest.param(("memory",), id="memory"),
    pytest.param(("postgres",), id="postgres", marks=pytest.mark.postgres),
    pytest.param(("clickhouse",), id="clickhouse", marks=pytest.mark.clickhouse),
    pytest.param(
        ("postgres", "clickhouse"), id="postgres, clickhouse", marks=[pytest.mark.postgres, pytest.mark.clickhouse]
    ),
]


@pytest.fixture
def anyio_backend() -> str:
    """Asyncio alone: asyncpg knows no other."""
    return "asyncio"


@pytest.fixture
def way(request: pytest.FixtureRequest) -> list[tuple[str, dict[str, str]]]:
    """The stores to go through, each with its settings."""
    return [
        (name, {"url": request.getfixturevalue(DATABASES[name])} if name in DATABASES else {}) for name in request.param
    ]


REGISTRY = cache(plugins.load)


def built(name: str, settings: Mapping[str, object]) -> Store:
    factory = REGISTRY().get("store", name, where="test")
    services = Services(NoTransport(), Credentials({}).load)
    store: Store = factory.build(factory.config.model_validate(dict(settings)), services)
    return store


def history() -> list[Record]:
    """Every kind, every oddity, and of two kinds more than a page."""
    rows: list[Record] = [*EVERY.values()]
    # As names and as texts; Postgres has no index for a name of a million characters, and says so.
    rows += [inference(1, function_name=text, tags={text: text}) for text in HOSTILE.values() if len(text) < 1000]
    rows += [comment(1, uid(1), text) for text in HOSTILE.values()]
    rows += [datapoint(1, split="test", dataset_name=name) for name in ("a", "b", "b")]
    for n in range(1200):
        rows += [model_inference(1, uid(n), raw_response="x" * n), comment(1, uid(n), "\n" * (n % 7))]
    return [
        structs.replace(row, hash=f"{number}{row.hash}")
        if isinstance(row, ConfigSnapshot)
        else structs.replace(row, id=uid(number))
        for number, row in enumerate(rows, start=1)
    ]


def sums(manifest: Manifest) -> dict[str, str]:
    """All but the accesses to test splits: each export adds its own."""
    return {name: part.sha256 for name, part in manifest.kinds.items() if name != "holdout_access"}


async def out_of(store: Store, folder: Path, number: int) -> Manifest:
    """In a format and then in the other."""
    return await export(
        store,
        folder,
        "parquet" if number % 2 else "jsonl",
        clock=SystemClock(),
        reader="test",
        snapshot_hash="0",
    )


@pytest.mark.parametrize("way", WAYS, indirect=True)
async def test_records_come_back_from_any_way_as_they_were(
    way: list[tuple[str, dict[str, str]]], tmp_path: Path
) -> None:
    stores = [("sqlite", {"path": str(tmp_path / "from.db")}), *way, ("sqlite", {"path": str(tmp_path / "to.db")})]
    manifests: list[Manifest] = []
    for number, (name, settings) in enumerate(stores):
        async with built(name, settings) as store:
            if not number:
                await store.write(history())
            else:
                found = await import_(store, tmp_path / f"{number - 1}")
                lacking = [each for each in found if not each.is_equal or each.same != each.rows]
                assert lacking == [], f"{stores[number - 1][0]} to {name}"
                assert {each.written for each in await import_(store, tmp_path / f"{number - 1}")} == {0}
            manifests.append(await out_of(store, tmp_path / f"{number}", number))
            assert all(each.is_equal for each in await verify(store, tmp_path / f"{number}"))
    assert [sums(manifest) for manifest in manifests] == [sums(manifests[0])] * len(stores)
    accesses = [manifest.kinds["holdout_access"].rows for manifest in manifests]
    datasets = accesses[1] - accesses[0]
    assert accesses == [accesses[0] + number * datasets for number in range(len(stores))]
    assert datasets >= 2


@pytest.mark.parametrize("way", WAYS[1:3], indirect=True)
def test_the_command_finds_a_database_by_its_url_in_the_environment(
    way: list[tuple[str, dict[str, str]]], tmp_path: Path
) -> None:
    ((name, settings),) = way
    path, out = tmp_path / "headrace.toml", str(tmp_path / "out")
    text = f'[gateway.observability]\nbackend = "{name}"\n[postgres]\ninference_retention_days = 30\n'
    path.write_text(text, encoding="utf-8")
    variables = {key: None for key in os.environ if key.endswith("_URL")}

    def run(*arguments: str) -> str:
        environment = {**variables, f"HEADRACE_{name.upper()}_URL": settings["url"]}
        done = CliRunner().invoke(headrace, ["store", *arguments, "--config", str(path)], env=environment)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    before = json.loads(run("status", "--json"))
    assert (before["type"], before["schema"]["found"]) == (name, 0)
    assert run("migrate") == f"{name}: schema version {before['schema']['known']}, the newest\n"
    run("export", out)
    assert "differs" not in run("import", out)
    run("verify", out)
    ended = [each["what"] for each in json.loads(run("expire", "--json"))] if name == "postgres" else run("expire")
    assert ended == (["data"] if name == "postgres" else "headrace.retention: no days are set, so nothing ends\n")
    run("downgrade", "--to", "0")
    assert json.loads(run("status", "--json"))["schema"]["found"] == 0
