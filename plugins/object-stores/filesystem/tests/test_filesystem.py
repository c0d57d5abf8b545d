"""What the store in a folder promises beyond the contract."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace.conformance.object_store import ObjectStoreConformance
from headrace.conformance.script import Script, services
from headrace.contracts import ObjectStore
from headrace.errors import ConfigError, ObjectStoreError
from headrace_filesystem import Filesystem, Settings, headrace_object_stores
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


def store(path: Path | str) -> Filesystem:
    return Filesystem(Settings(path=str(path)), services(Script()))


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class TestFilesystem(ObjectStoreConformance):
    def build(self, tmp_path: Path) -> ObjectStore:
        return store(tmp_path)


def test_offers_the_type_filesystem() -> None:
    assert [factory.name for factory in headrace_object_stores()] == ["filesystem"]


@pytest.mark.parametrize("table", [{}, {"path": ""}, {"path": 1}, {"path": "x", "prefix": "y"}])
def test_a_wrong_table_is_an_error(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError) as caught:
        store(missing)
    assert str(caught.value) == f"Failed to create filesystem object store: path does not exist: {missing}"
    assert not missing.exists()
    missing.write_text("")
    with pytest.raises(ConfigError, match="not a folder"):
        store(missing)


async def test_the_path_is_relative_to_the_working_folder_at_start(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        shelf = store("files")
    finally:
        os.chdir(before)
    await shelf.put("a/b", b"abc")
    assert (tmp_path / "files/a/b").read_bytes() == b"abc"
    assert shelf.kind == {"type": "filesystem", "path": "files"}


async def test_a_write_leaves_nothing_but_the_object(tmp_path: Path) -> None:
    shelf = store(tmp_path)
    await shelf.put("a/b", b"first")
    await shelf.put("a/b", b"second")
    with pytest.raises(ObjectStoreError, match="cannot write"):
        await shelf.put("a", b"a folder is in its place")
    with pytest.raises(ObjectStoreError, match="cannot write"):
        await shelf.put("a/b/c", b"an object is in the way")
    with pytest.raises(ObjectStoreError, match="cannot write"):
        await shelf.put("x" * 300, b"longer than a file's name can be")
    assert everything_in(tmp_path) == ["a", "a/b"]
