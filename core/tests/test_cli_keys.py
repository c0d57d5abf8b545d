"""The promises of ``headrace keys``, and of the flags of TensorZero's gateway that do the same."""

from __future__ import annotations

import hashlib
import json
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from headrace.cli import headrace
from headrace.conformance.rows import api_key
from headrace.errors import HeadraceError
from headrace.records import ApiKey
from headrace_sqlite import Settings, Sqlite


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a.toml"
    path.write_text(f'[gateway.observability]\nbackend = "sqlite"\n[sqlite]\npath = "{tmp_path}/a.db"\n')
    return path


def run(config: Path, *arguments: str, command: str = "keys") -> Result:
    """The command in this process; what it raises is in ``exception``."""
    return CliRunner().invoke(headrace, [command, *arguments, "--config", str(config)])


def made(config: Path, *arguments: str) -> Any:
    """What is said of a fresh key."""
    result = run(config, "create", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def stored(config: Path) -> dict[str, ApiKey]:
    """The keys in the store by their public ids."""

    async def read() -> list[ApiKey]:
        async with Sqlite(Settings(path=config.with_suffix(".db"))) as store:
            return await store.scan(ApiKey)

    return {key.public_id: key for key in anyio.run(read)}


def write(config: Path, *keys: ApiKey) -> None:
    async def do() -> None:
        async with Sqlite(Settings(path=config.with_suffix(".db"))) as store:
            await store.write(keys)

    anyio.run(do)


def near(at: datetime | None, wanted: datetime) -> bool:
    return at is not None and abs(at - wanted) < timedelta(minutes=2)


def test_create_prints_the_key_alone_and_keeps_its_hash(config: Path) -> None:
    result = run(config, "create", "--description", "ci", "--organization", "o", "--workspace", "w")
    assert result.exit_code == 0, result.output
    text = result.stdout.removesuffix("\n")
    sk, t0, public_id, secret = text.split("-")
    [key] = stored(config).values()
    assert (sk, t0, public_id) == ("sk", "t0", key.public_id)
    assert key.hash == hashlib.sha256(secret.encode()).hexdigest()
    assert (key.description, key.organization, key.workspace, key.expires_at) == ("ci", "o", "w", None)
    assert secret.encode() not in config.with_suffix(".db").read_bytes()
    assert secret not in run(config, "list", "--json").output


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_key_expires_after_a_span(config: Path, span: str, wanted: timedelta) -> None:
    said = made(config, "--expires-in", span)
    key = stored(config)[said["public_id"]]
    assert near(key.expires_at, key.created_at + wanted)


def test_a_key_expires_at_an_instant(config: Path) -> None:
    said = made(config, "--expires-at", "2099-01-31T12:00:00+02:00")
    assert stored(config)[said["public_id"]].expires_at == datetime(2099, 1, 31, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--expires-in", "90"), "is not a number and one of s, m, h, d and w"),
        (("--expires-in", "-1d"), "is not a number and one of s, m, h, d and w"),
        (("--expires-in", "999999999w"), "is too long"),
        (("--expires-in", "500000w"), "the span ends after the last day there is"),
        (("--expires-at", "2020-01-01T00:00:00Z"), "is in the past"),
        (("--expires-at", "2099-01-01"), "has no time zone"),
        (("--expires-at", "soon"), "is not an instant"),
        (("--expires-at", "2099-01-01T00:00:00Z", "--expires-in", "1d"), "cannot be used together"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_mistake_is_told_and_makes_no_key(config: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(config, "create", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert not config.with_suffix(".db").exists()


def test_list_shows_every_key_with_its_state_and_no_hash(config: Path) -> None:
    past = datetime(2026, 1, 1, tzinfo=UTC)
    write(
        config,
        api_key(1, public_id="standing0000", description="a"),
        api_key(2, public_id="expired00000", expires_at=past),
        api_key(3, public_id="disabled0000", disabled_at=past, expires_at=past),
    )
    result = run(config, "list", "--json")
    shown = json.loads(result.stdout)
    assert [(each["public_id"], each["state"]) for each in shown] == [
        ("standing0000", "active"),
        ("expired00000", "expired"),
        ("disabled0000", "disabled"),
    ]
    table = run(config, "list").stdout
    assert "0" * 64 not in table + result.stdout
    assert table.split("\n")[1].split()[:2] == ["standing0000", "active"]


def test_list_goes_through_pages(config: Path) -> None:
    write(config, *(api_key(n) for n in range(1001)))
    assert len(json.loads(run(config, "list", "--json").stdout)) == 1001


def test_list_of_no_keys_is_empty(config: Path) -> None:
    assert json.loads(run(config, "list", "--json").stdout) == []
    assert "public_id" in run(config, "list").stdout


def test_disable_says_when_a_key_was_disabled_first(config: Path) -> None:
    id_ = made(config)["public_id"]
    assert run(config, "disable", id_).exit_code == 0
    first = stored(config)[id_]
    assert near(first.disabled_at, datetime.now(UTC))
    assert first.updated_at == first.disabled_at
    assert run(config, "disable", id_).exit_code == 0
    assert stored(config)[id_] == first


@pytest.mark.parametrize("command", ["disable", "rotate"])
def test_an_unknown_key_is_told(config: Path, command: str) -> None:
    result = run(config, command, "nobody000000")
    assert isinstance(result.exception, HeadraceError)
    assert "no API key has the public id 'nobody000000'" in str(result.exception)


def test_rotate_makes_a_key_like_the_old_one_which_is_taken_a_while_yet(config: Path) -> None:
    old = made(config, "--description", "ci", "--workspace", "w", "--expires-in", "90d")
    result = run(config, "rotate", old["public_id"], "--json")
    assert result.exit_code == 0, result.output
    new = json.loads(result.stdout)
    keys = stored(config)
    assert len(keys) == 2
    before, after = keys[old["public_id"]], keys[new["public_id"]]
    assert near(before.expires_at, datetime.now(UTC) + timedelta(hours=1))
    assert before.disabled_at is None
    assert (after.description, after.workspace) == ("ci", "w")
    assert near(after.expires_at, datetime.now(UTC) + timedelta(days=90))
    assert after.hash == hashlib.sha256(new["key"].rpartition("-")[2].encode()).hexdigest() != before.hash


@pytest.mark.parametrize(
    ("grace", "expires_in", "lasts"),
    [("0s", (), timedelta()), ("2d", (), timedelta(days=2)), ("2d", ("--expires-in", "1h"), timedelta(hours=1))],
    ids=["at once", "longer", "no longer than it has"],
)
def test_the_old_key_lasts_for_the_grace(
    config: Path, grace: str, expires_in: tuple[str, ...], lasts: timedelta
) -> None:
    id_ = made(config, *expires_in)["public_id"]
    assert run(config, "rotate", id_, "--grace", grace, "--expires-in", "30d").exit_code == 0
    assert near(stored(config)[id_].expires_at, datetime.now(UTC) + lasts)


def test_a_key_that_is_no_good_is_not_rotated(config: Path) -> None:
    id_ = made(config)["public_id"]
    run(config, "disable", id_)
    result = run(config, "rotate", id_)
    assert isinstance(result.exception, HeadraceError)
    assert f"{id_} is disabled already" in str(result.exception)
    assert len(stored(config)) == 1


def test_a_store_that_ends_with_the_process_takes_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('[gateway.observability]\nbackend = "memory"\n')
    result = run(path, "create")
    assert isinstance(result.exception, HeadraceError)
    assert "the memory store keeps no API keys for others" in str(result.exception)


# -- flags of TensorZero's gateway ----------------------------------------------------------------------------


def test_the_flag_prints_nothing_but_the_key(config: Path) -> None:
    result = run(config, "--create-api-key", "--expiration", "2099-01-01T00:00:00Z", command="serve")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    [key] = stored(config).values()
    assert result.stdout.split("-")[2] == key.public_id
    assert key.expires_at == datetime(2099, 1, 1, tzinfo=UTC)


def test_the_flag_refuses_an_expiration_in_the_past(config: Path) -> None:
    result = run(config, "--create-api-key", "--expiration", "2020-01-01T00:00:00Z", command="serve")
    assert result.exit_code != 0
    assert "is in the past" in result.output


def test_the_flag_disables_and_says_nothing_even_of_an_unknown_id(config: Path) -> None:
    id_ = made(config)["public_id"]
    for given in (id_, "nobody000000"):
        result = run(config, "--disable-api-key", given, command="serve")
        assert (result.exit_code, result.output) == (0, "")
    assert stored(config)[id_].disabled_at is not None


def test_the_flags_need_no_configuration(tmp_path: Path) -> None:
    with chdir(tmp_path):
        result = CliRunner().invoke(headrace, ["serve", "--create-api-key"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("sk-t0-")
