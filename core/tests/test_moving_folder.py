"""The promises of an export: it comes back as it was, anywhere; damage is told before anything is written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from headrace.conformance.rows import api_key, at, datapoint, example, inference, model_inference, snapshot, uid
from headrace.conformance.rows_every import EVERY, HOSTILE
from headrace.contracts import SystemClock
from headrace.errors import HeadraceError, RecordRefused, StoreError
from headrace.moving import Agreement, ExportDamaged, Format, Manifest, export, import_, verify
from headrace.moving.rows import canonical, key_of, name_of
from headrace.records import KINDS, ConfigSnapshot, HoldoutAccess, InferenceRecord, Record
from headrace_memory import Memory, Settings
from msgspec import structs

pytestmark = pytest.mark.anyio
FORMATS = pytest.mark.parametrize("format_", ["jsonl", "parquet"])


def apart(rows: Sequence[Record]) -> list[Record]:
    """The same rows, each under a key of its own."""
    return [
        structs.replace(row, hash=f"{number}{row.hash}")
        if isinstance(row, ConfigSnapshot)
        else structs.replace(row, id=uid(number))
        for number, row in enumerate(rows, start=1)
    ]


ALL = apart([*EVERY.values(), *(inference(1, function_name=text, tags={text: text}) for text in HOSTILE.values())])


class Failing(Memory):
    """A memory store that takes ``writes`` pages and then none."""

    def __init__(self, writes: int) -> None:
        super().__init__(Settings())
        self._writes = writes

    async def write(self, records: Sequence[Record]) -> None:
        if not self._writes:
            raise StoreError("full")
        self._writes -= 1
        await super().write(records)


async def holding(rows: Sequence[Record]) -> Memory:
    store = Memory(Settings())
    await store.write(rows)
    return store


async def exported(rows: Sequence[Record], folder: Path, format_: Format = "jsonl") -> Manifest:
    return await to_folder(await holding(rows), folder, format_)


async def to_folder(store: Memory, folder: Path, format_: Format = "jsonl", **more: Any) -> Manifest:
    return await export(store, folder, format_, clock=SystemClock(), reader="me", snapshot_hash="7", **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differing(found: Sequence[Agreement]) -> list[Agreement]:
    return [each for each in found if not (each.is_equal and each.is_kept and each.same == each.rows)]


def by_kind(found: Sequence[Agreement], name: str) -> Agreement:
    return next(each for each in found if each.kind == name)


@FORMATS
async def test_every_kind_comes_back_as_it_was(format_: Format, tmp_path: Path) -> None:
    source, target = await holding(ALL), Memory(Settings())
    manifest = await to_folder(source, tmp_path / "out", format_)
    assert differing(await import_(target, tmp_path / "out")) == []
    for kind in KINDS:
        there = await source.scan(kind)
        assert await target.scan(kind) == there
        assert there, f"no sample of {kind.__name__}"
        assert manifest.kinds[name_of(kind)].rows == len(there)
    assert differing(await verify(source, tmp_path / "out")) == []


async def test_checksums_do_not_depend_on_the_format(tmp_path: Path) -> None:
    rows = [row for row in ALL if not isinstance(row, HoldoutAccess) and getattr(row, "split", "") != "test"]
    one, other = [await exported(rows, tmp_path / each, each) for each in ("jsonl", "parquet")]
    assert [part.sha256 for part in one.kinds.values()] == [part.sha256 for part in other.kinds.values()]


def test_equal_rows_have_one_canonical_form() -> None:
    cost = [canonical(model_inference(1, uid(1), cost=Decimal(text))) for text in ("1.50", "1.500000000")]
    assert cost[0] == cost[1]
    assert b'"cost":"1.5"' in cost[0]
    assert b'"cost":"0"' in canonical(model_inference(1, uid(1), cost=Decimal("-0E+3")))
    assert b'"cost":"1000"' in canonical(model_inference(1, uid(1), cost=Decimal("1E+3")))
    there = at(0).astimezone(tz=None)
    assert canonical(datapoint(1, updated_at=at(0))) == canonical(datapoint(1, updated_at=there))
    assert canonical(example(1, (0.1, 1.0))) == canonical(example(1, (0.10000000149011612, 1.0)))
    assert canonical(inference(1, tags={"a": "1", "b": "2"})) == canonical(inference(1, tags={"b": "2", "a": "1"}))
    assert canonical(inference(1)) != canonical(inference(1, variant_probability=0.5))


async def test_json_lines_are_one_record_each_and_sum_up_as_the_manifest_says(tmp_path: Path) -> None:
    manifest = await exported(ALL, tmp_path / "out")
    assert sha256(tmp_path / "out/inference.jsonl") == manifest.kinds["inference"].file_sha256
    lines = (tmp_path / "out/inference.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["type"] for line in lines if line] == ["inference"] * manifest.kinds["inference"].rows
    said = json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))
    assert (said["format"], said["layout"], set(said["kinds"])) == ("jsonl", 1, {name_of(kind) for kind in KINDS})


async def test_parquet_has_columns_that_other_programs_understand(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    await exported(ALL, tmp_path / "out", "parquet")
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "out/example.parquet")}
    assert types["embedding"] == "list<element: float>"
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "out/datapoint.parquet")}
    assert types["updated_at"] == "timestamp[us, tz=UTC]"
    assert types["is_custom"] == "bool"
    table = parquet.read_table(tmp_path / "out/datapoint.parquet")
    assert all(json.loads(text) is not None for text in table.column("input").to_pylist())


async def test_more_than_a_page_comes_back(tmp_path: Path) -> None:
    manifest = await exported([inference(n) for n in range(1, 2502)], tmp_path / "out", "parquet")
    assert manifest.kinds["inference"].rows == 2501
    target = Memory(Settings())
    said: list[tuple[str, int]] = []
    found = await import_(target, tmp_path / "out", advance=lambda kind, rows: said.append((kind, rows)))
    assert by_kind(found, "inference").written == by_kind(found, "inference").same == 2501
    assert sum(rows for _, rows in said) == manifest.rows


# -- the folder -----------------------------------------------------------------------------------------------


async def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    seen: list[bool] = []
    source = await holding(ALL)
    await to_folder(source, tmp_path / "out", advance=lambda kind, rows: seen.append((tmp_path / "out").exists()))
    assert set(seen) == {False}
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


class Away(Memory):
    """A memory store that cannot be read once it comes to feedback."""

    async def scan(self, kind: type[Any], *, after: str = "", limit: int = 1000) -> list[Any]:
        if kind is KINDS[2]:
            raise StoreError("away")
        return await super().scan(kind, after=after, limit=limit)


async def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="away"):
        await to_folder(Away(Settings()), tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "out.partial"])
async def test_what_is_there_is_never_touched(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with pytest.raises(HeadraceError, match="is there already"):
        await exported([], tmp_path / "out")
    assert (tmp_path / name / "mine").exists()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(HeadraceError, match="cannot be made: No such file"):
        await exported([], tmp_path / "nowhere/out")


class Picky(Memory):
    """A memory store that refuses a page with anything of the variant ``no`` in it."""

    async def write(self, records: Sequence[Record]) -> None:
        if any(getattr(record, "variant_name", "") == "no" for record in records):
            raise RecordRefused("not this one")
        await super().write(records)


async def test_what_a_store_refuses_is_told_and_its_neighbours_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [inference(n, variant_name="no" if n in (7, 1100) else "v") for n in range(1, 1203)]
    await exported(rows, tmp_path / "out")
    found = by_kind(await import_(Picky(Settings()), tmp_path / "out"), "inference")
    assert (found.written, found.same, found.missing, found.is_kept) == (1200, 1200, 2, False)
    assert [line for line in caplog.messages if "not imported" in line] == [
        f"inference {uid(n)} is not imported: not this one" for n in (7, 1100)
    ]


# -- sealed splits ----------------------------------------------------------------------------------------------


async def test_an_export_is_an_access_to_every_test_split_in_it(tmp_path: Path) -> None:
    rows = [datapoint(n, split="test", dataset_name="a", staled_at=at(0) if n == 2 else None) for n in (1, 2)]
    rows += [datapoint(3, split="test", dataset_name="b"), datapoint(4, split="train", dataset_name="c")]
    source = await holding(rows)
    manifest = await to_folder(source, tmp_path / "out")
    accesses = await source.scan(HoldoutAccess)
    assert [(one.dataset_name, one.datapoint_count) for one in accesses] == [("a", 2), ("b", 1)]
    assert {(one.reader, one.purpose, one.snapshot_hash) for one in accesses} == {("me", "export", "7")}
    assert manifest.kinds["holdout_access"].rows == 2, "an export tells of itself"


async def test_an_access_that_cannot_be_noted_gives_no_export(tmp_path: Path) -> None:
    source = Failing(writes=1)
    await source.write([datapoint(1, split="test")])
    with pytest.raises(StoreError, match="full"):
        await to_folder(source, tmp_path / "out")
    assert names(tmp_path) == []


# -- damage -----------------------------------------------------------------------------------------------------


def cut(folder: Path) -> None:
    path = folder / "inference.jsonl"
    path.write_bytes(path.read_bytes()[:-2])


def flip(folder: Path) -> None:
    path = folder / "inference.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"f"', b'"g"', 1))


def remove(folder: Path) -> None:
    (folder / "inference.jsonl").unlink()


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def manifest_says(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    return change


def resealed(change: Callable[[bytes], bytes], **entry: Any) -> Callable[[Path], None]:
    """A change with a new checksum of the file, as somebody would make who edits an export by hand."""

    def reseal(folder: Path) -> None:
        path = folder / "inference.jsonl"
        path.write_bytes(change(path.read_bytes()))
        kinds = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["kinds"]
        kinds["inference"] |= {"file_sha256": sha256(path), **entry}
        manifest_says(kinds=kinds)(folder)

    return reseal


PART = {"rows": 0, "sha256": "", "file_sha256": ""}
DAMAGES = {
    "cut": (cut, r"inference\.jsonl: SHA-256 is .*, the manifest says"),
    "flipped": (flip, r"inference\.jsonl: SHA-256 is"),
    "a file less": (remove, r"inference\.jsonl: No such file"),
    "no manifest": (no_manifest, r"manifest\.json: No such file or directory: .* is not a whole export"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json: .*; export again"),
    "of the future": (manifest_says(layout=2, format="zip"), r"newer headrace \(layout 2\); upgrade this one"),
    "unknown kinds": (manifest_says(kinds={"../../x": PART}), r"does not know: \.\./\.\./x; upgrade"),
    "unknown format": (manifest_says(format="csv"), r"manifest\.json: Invalid enum value 'csv'"),
    "rows in another order": (
        resealed(lambda text: b"\n".join(text.splitlines()[::-1]) + b"\n"),
        r"row 2: .* does not come after",
    ),
    "a row twice": (resealed(lambda text: text.splitlines()[0] + b"\n" + text), r"row 2: .* does not come after"),
    "a row less": (resealed(lambda text: text.split(b"\n", 1)[1]), r"has 2 rows, the manifest says 3"),
    "another value": (resealed(lambda text: text.replace(b'"f"', b'"g"', 1)), r"SHA-256 of its rows is"),
    "no record": (resealed(lambda text: text + b'{"type":"inference"}\n'), r"row 4: Object missing required field"),
    "another kind": (resealed(lambda text: text + b'{"type":"example"}\n'), r"row 4: Invalid value 'example'"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_told_before_anything_is_written(
    damage: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    await exported([snapshot(), *(inference(n) for n in (1, 2, 3))], tmp_path / "out")
    damage(tmp_path / "out")
    target = Memory(Settings())
    for act in (import_, verify):
        with pytest.raises(ExportDamaged, match=said):
            await act(target, tmp_path / "out")
    assert target.records == []


async def test_every_damaged_file_is_told_at_once(tmp_path: Path) -> None:
    await exported(ALL, tmp_path / "out", "parquet")
    for name in ("comment", "datapoint"):
        (tmp_path / f"out/{name}.parquet").write_bytes(b"PAR1")
    with pytest.raises(ExportDamaged) as caught:
        await verify(Memory(Settings()), tmp_path / "out")
    assert [Path(line.split(":")[0]).name for line in str(caught.value).splitlines()] == [
        "comment.parquet",
        "datapoint.parquet",
    ]


async def test_a_sum_of_rows_that_another_version_made_is_not_held_against_it(tmp_path: Path) -> None:
    await exported([inference(1)], tmp_path / "out")
    resealed(lambda text: text, sha256="made of other fields")(tmp_path / "out")
    manifest_says(headrace_version="0.0.1")(tmp_path / "out")
    assert differing(await import_(Memory(Settings()), tmp_path / "out")) == []


# -- into a store that has something ----------------------------------------------------------------------------


async def test_an_import_done_twice_changes_nothing(tmp_path: Path) -> None:
    await exported(ALL, tmp_path / "out")
    target = Memory(Settings())
    first = await import_(target, tmp_path / "out")
    before = target.records
    again = await import_(target, tmp_path / "out")
    assert target.records == before
    assert sum(each.written for each in first) == len(before)
    assert sum(each.written for each in again) == 0
    assert differing(again) == []


async def test_an_import_that_broke_off_goes_on(tmp_path: Path) -> None:
    await exported([inference(n) for n in range(1, 2502)], tmp_path / "out")
    broken = Failing(writes=2)
    with pytest.raises(StoreError, match="full"):
        await import_(broken, tmp_path / "out")
    target = await holding(broken.records)
    found = by_kind(await import_(target, tmp_path / "out"), "inference")
    assert (found.written, found.same, found.is_equal) == (501, 2501, True)


@FORMATS
async def test_what_the_store_has_more_stays_and_is_counted(format_: Format, tmp_path: Path) -> None:
    await exported([inference(n) for n in (2, 4, 6)], tmp_path / "out", format_)
    target = await holding([inference(n) for n in (1, 2, 3, 5, 7)])
    found = by_kind(await import_(target, tmp_path / "out"), "inference")
    assert (found.written, found.same, found.others, found.is_equal, found.is_kept) == (2, 3, 4, False, True)
    assert len(await target.scan(InferenceRecord)) == 7


async def test_a_newer_row_is_not_replaced_by_an_older_one(tmp_path: Path) -> None:
    older: list[Record] = [
        datapoint(1, name="old", updated_at=at(0)),
        api_key(2, updated_at=at(0)),
        snapshot(created_at=at(0), last_used=at(0)),
    ]
    newer: list[Record] = [
        datapoint(1, name="new", updated_at=at(1), staled_at=at(1)),
        api_key(2, updated_at=at(1), disabled_at=at(1)),
        snapshot(created_at=at(0), last_used=at(0) + timedelta(days=1)),
    ]
    await exported(older, tmp_path / "older")
    await exported(newer, tmp_path / "newer")
    target = await holding(newer)
    found = await import_(target, tmp_path / "older")
    assert target.records == newer
    assert [each.newer for each in found if each.rows] == [1, 1, 1]
    assert all(each.is_kept and not each.is_equal for each in found if each.rows)
    target = await holding(older)
    assert differing(await import_(target, tmp_path / "newer")) == []
    assert sorted(map(key_of, target.records)) == sorted(map(key_of, newer))
    assert {name_of(type(row)): row for row in target.records} == {name_of(type(row)): row for row in newer}


async def test_verify_counts_what_is_missing_and_what_is_different(tmp_path: Path) -> None:
    await exported([inference(n) for n in (1, 2, 3)], tmp_path / "out")
    target = await holding([inference(1), inference(2, variant_name="another"), inference(4)])
    found = by_kind(await verify(target, tmp_path / "out"), "inference")
    assert (found.same, found.different, found.missing, found.others) == (1, 1, 1, 1)
    assert not found.is_kept
    assert len(target.records) == 3, "it only looks"


def test_json_lines_need_no_pyarrow() -> None:
    code = "import sys, headrace.moving; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
