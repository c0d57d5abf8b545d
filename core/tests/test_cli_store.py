"""The promises of ``headrace store``: what each command does to a store, says of it, and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from headrace.cli import headrace
from headrace.conformance.rows import datapoint, inference, uid
from headrace.errors import HeadraceError
from headrace.ids import new_id
from headrace.moving import ExportDamaged
from headrace.records import HoldoutAccess, InferenceRecord, Record
from headrace_sqlite import Settings, Sqlite

MEMORY = '[gateway.observability]\nbackend = "memory"\n'
# The credentials of providers are nobody's business here: this key is in no environment.
MODEL = """
[models.m]
routing = ["p"]

[models.m.providers.p]
type = "openai"
model_name = "x"
api_key_location = "env::NOBODY_HAS_THIS"
"""


def config(folder: Path, name: str = "a", text: str = "") -> Path:
    """A configuration whose store is the file of that name."""
    path = folder / f"{name}.toml"
    store = f'[gateway.observability]\nbackend = "sqlite"\n[sqlite]\npath = "{folder / name}.db"\n'
    path.write_text(store + text, encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    """The command in this process; what it raises is in ``exception``."""
    return CliRunner().invoke(headrace, ["store", *map(str, arguments)])


def said(result: Result) -> Any:
    """The JSON of a command that went well."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(result: Result) -> str:
    """The line that a command ends with."""
    assert isinstance(result.exception, HeadraceError), result.output
    return str(result.exception)


def fill(folder: Path, *rows: Record, name: str = "a") -> None:
    async def write() -> None:
        async with Sqlite(Settings(path=folder / f"{name}.db")) as store:
            await store.write(rows)

    anyio.run(write)


def rows(folder: Path, kind: type[Any] = InferenceRecord, name: str = "a") -> list[Any]:
    async def read() -> list[Any]:
        async with Sqlite(Settings(path=folder / f"{name}.db")) as store:
            return await store.scan(kind)

    return anyio.run(read)


# -- which store ------------------------------------------------------------------------------------------------


def test_a_configuration_without_a_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[gateway]\nobservability.enabled = false\n", encoding="utf-8")
    assert "this configuration stores nothing; name a `backend`" in refusal(run("verify", tmp_path, "--config", path))


def test_a_store_that_cannot_be_built_is_told_by_its_key(tmp_path: Path) -> None:
    assert refusal(run("expire", "--config", config(tmp_path, text="nope = 1\n"))).startswith("sqlite.nope: ")


def test_nothing_but_the_store_is_built(tmp_path: Path) -> None:
    fill(tmp_path, inference(1))
    done = run("export", tmp_path / "out", "--config", config(tmp_path, text=MODEL))
    assert done.exit_code == 0, done.output


def test_an_error_is_one_line_and_the_exit_status_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(MEMORY, encoding="utf-8")
    code = "from headrace.cli import main; main()"
    command = [sys.executable, "-c", code, "store", "backup", str(tmp_path / "copy"), "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (1, "")
    assert [line for line in done.stderr.splitlines() if line.startswith("headrace: error: ")] == [
        "headrace: error: the memory store cannot be copied from here: use its database's own tools "
        "(docs/how-to/backup.md), or `headrace store export`"
    ]


# -- schema -----------------------------------------------------------------------------------------------------


def test_status_of_a_store_without_versions_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(MEMORY, encoding="utf-8")
    assert run("status", "--config", path).stdout == "memory: its schema has no versions\n"
    assert said(run("status", "--config", path, "--json")) == {"type": "memory", "schema": None}
    assert "memory store has no schema" in refusal(run("migrate", "--config", path))


def test_status_tells_and_migrate_brings_the_newest_version(tmp_path: Path) -> None:
    path = config(tmp_path)
    before = said(run("status", "--config", path, "--json"))["schema"]
    assert before["found"] == 0 < before["known"] == len(before["steps"])
    shown = run("status", "--config", path).stdout
    assert f"sqlite: schema version 0, {before['known']} is the newest: `headrace store migrate`" in shown
    assert shown.count("to do") == before["known"]
    done = run("migrate", "--config", path)
    assert done.stdout == f"sqlite: schema version {before['known']}, the newest\n"
    assert said(run("status", "--config", path, "--json"))["schema"]["found"] == before["known"]


def test_migrate_and_downgrade_go_to_a_version_each_in_its_direction(tmp_path: Path) -> None:
    path = config(tmp_path)
    newest = said(run("status", "--config", path, "--json"))["schema"]["known"]
    assert run("migrate", "--config", path).exit_code == 0
    assert run("downgrade", "--to", newest - 1, "--config", path).exit_code == 0
    assert said(run("status", "--config", path, "--json"))["schema"]["found"] == newest - 1
    assert f"`headrace store migrate --to {newest}` goes forward" in refusal(
        run("downgrade", "--to", newest, "--config", path)
    )
    assert run("migrate", "--to", newest, "--config", path).exit_code == 0
    assert f"`headrace store downgrade --to {newest - 1}` goes back" in refusal(
        run("migrate", "--to", newest - 1, "--config", path)
    )
    assert run("migrate", "--to", newest + 1, "--config", path).exit_code == 1
    assert run("downgrade", "--config", path).exit_code == 2, "it does not guess how far"


# -- copies -----------------------------------------------------------------------------------------------------


def test_a_backup_can_be_restored(tmp_path: Path) -> None:
    path = config(tmp_path)
    fill(tmp_path, inference(1), inference(2))
    assert run("backup", tmp_path / "copy", "--config", path).exit_code == 0
    fill(tmp_path, inference(3))
    assert len(rows(tmp_path)) == 3
    assert run("restore", tmp_path / "copy", "--config", path).exit_code == 0
    assert [row.id for row in rows(tmp_path)] == [uid(1), uid(2)]


def test_a_backup_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    path = config(tmp_path)
    fill(tmp_path, inference(1))
    (tmp_path / "copy").write_text("mine")
    assert "copy: is there already" in refusal(run("backup", tmp_path / "copy", "--config", path))
    assert (tmp_path / "copy").read_text() == "mine"
    assert run("restore", tmp_path / "none", "--config", path).exit_code == 2


# -- moves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_a_store_moves_by_way_of_a_folder(format_: str, tmp_path: Path) -> None:
    one, other = config(tmp_path), config(tmp_path, "b")
    fill(tmp_path, *(inference(n) for n in range(1, 1203)), datapoint(9))
    out = tmp_path / "out"
    done = run("export", out, "--format", format_, "--config", one)
    assert done.exit_code == 0, done.output
    told = next(line.split() for line in done.stdout.splitlines() if line.startswith("inference "))
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert told == ["inference", "1202", manifest["kinds"]["inference"]["sha256"]]
    shown = run("import", out, "--config", other).stdout
    told = next(line.split() for line in shown.splitlines() if line.startswith("inference "))
    assert told == ["inference", "1202", "1202", "1202", "0", "0", "0", "0", "equal"]
    assert rows(tmp_path, name="b") == rows(tmp_path)
    again = said(run("import", out, "--config", other, "--json"))
    assert {each["written"] for each in again} == {0}
    assert all(each["is_equal"] for each in said(run("verify", out, "--config", other, "--json")))
    assert run("verify", out, "--config", one).exit_code == 0


def test_verify_ends_with_1_where_something_is_missing(tmp_path: Path) -> None:
    one, other = config(tmp_path), config(tmp_path, "b")
    fill(tmp_path, inference(1), inference(2))
    fill(tmp_path, inference(2, variant_name="another"), name="b")
    run("export", tmp_path / "out", "--config", one)
    done = run("verify", tmp_path / "out", "--config", other)
    assert done.exit_code == 1
    assert refusal(done) == "the sqlite store does not have all of the export: inference (1 missing, 1 different)"
    assert next(line for line in done.stdout.splitlines() if line.startswith("inference ")).split()[-1] == "differs"


def test_a_damaged_export_is_not_imported(tmp_path: Path) -> None:
    path = config(tmp_path)
    fill(tmp_path, inference(1))
    run("export", tmp_path / "out", "--config", path)
    (tmp_path / "out/inference.jsonl").write_text("")
    done = run("import", tmp_path / "out", "--config", config(tmp_path, "b"))
    assert isinstance(done.exception, ExportDamaged)
    assert rows(tmp_path, name="b") == []


def test_an_export_says_who_has_read_the_test_split(tmp_path: Path) -> None:
    path = config(tmp_path)
    fill(tmp_path, datapoint(1, split="test", dataset_name="d"))
    assert run("export", tmp_path / "out", "--reader", "an auditor", "--config", path).exit_code == 0
    (access,) = rows(tmp_path, HoldoutAccess)
    assert (access.dataset_name, access.reader, access.purpose) == ("d", "an auditor", "export")
    assert run("export", tmp_path / "again", "--config", path).exit_code == 0
    assert all(access.reader for access in rows(tmp_path, HoldoutAccess))


KILLED = """
import os, signal, sys
import anyio
from pathlib import Path
from headrace import moving
from headrace.contracts import SystemClock
from headrace_sqlite import Settings, Sqlite

rows = 0

def advance(kind, count):
    global rows
    rows += count
    if rows > 1500:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    folder = Path(sys.argv[3])
    async with Sqlite(Settings(path=sys.argv[2])) as store:
        if sys.argv[1] == "import":
            await moving.import_(store, folder, advance=advance)
        await moving.export(
            store, folder, "jsonl", clock=SystemClock(), reader="", snapshot_hash="", advance=advance
        )

anyio.run(main)
"""


def killed(what: str, store: Path, folder: Path) -> None:
    """Begin it in another process, which is killed in the middle."""
    done = subprocess.run([sys.executable, "-c", KILLED, what, str(store), str(folder)], check=False)
    assert done.returncode == -9


def test_an_export_that_was_killed_is_none(tmp_path: Path) -> None:
    path = config(tmp_path)
    fill(tmp_path, *(inference(n) for n in range(1, 2502)))
    killed("export", tmp_path / "a.db", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "out.partial: is there already; remove it" in refusal(run("export", tmp_path / "out", "--config", path))
    assert "is not a whole export" in refusal(run("import", tmp_path / "out.partial", "--config", path))


def test_an_import_that_was_killed_goes_on(tmp_path: Path) -> None:
    path = config(tmp_path)
    fill(tmp_path, *(inference(n) for n in range(1, 2502)))
    assert run("export", tmp_path / "out", "--config", path).exit_code == 0
    killed("import", tmp_path / "b.db", tmp_path / "out")
    assert len(rows(tmp_path, name="b")) == 1000
    found = said(run("import", tmp_path / "out", "--config", config(tmp_path, "b"), "--json"))
    (inferences,) = [each for each in found if each["kind"] == "inference"]
    assert (inferences["written"], inferences["is_equal"]) == (1501, True)


# -- retention --------------------------------------------------------------------------------------------------


def test_expire_ends_what_is_past_its_days(tmp_path: Path) -> None:
    path = config(tmp_path, text="[headrace.retention]\ninferences_days = 1\nfeedback_days = 9\n")
    recent = inference(1, id=new_id())
    fill(tmp_path, inference(1, id=uid(-(10**11))), recent)
    ended = {each["what"]: each["rows"] for each in said(run("expire", "--config", path, "--json"))}
    assert ended == {"inferences": 1, "feedback": 0}
    assert [row.id for row in rows(tmp_path)] == [recent.id]
    shown = run("expire", "--config", path).stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["what", "inferences", "feedback"]


def test_expire_without_days_does_nothing_and_says_so(tmp_path: Path) -> None:
    path = config(tmp_path, text="[postgres]\ninference_retention_days = 1\n")
    fill(tmp_path, inference(1, id=uid(-(10**11))))
    assert run("expire", "--config", path).stdout == "headrace.retention: no days are set, so nothing ends\n"
    assert len(rows(tmp_path)) == 1
