"""What users install: the wheels, in a clean environment, without this repository."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import new_plugin
import pytest
from environments import CONFIG, ask, clean, serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution, as users would get them."""
    folder = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def headrace(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that has every wheel."""
    return clean(tmp_path_factory.mktemp("all") / "venv", wheels, *sorted(wheels.glob("*.whl")))


def test_every_wheel_is_typed_and_brings_no_tests(wheels: Path) -> None:
    paths = sorted(wheels.glob("*.whl"))
    assert len(paths) > 10
    for path in paths:
        names = zipfile.ZipFile(path).namelist()
        assert any(name.endswith("/py.typed") for name in names), path.name
        assert [name for name in names if "tests" in name.split("/")] == []


def test_every_plugin_loads_from_its_wheel(headrace: Path, wheels: Path) -> None:
    listed = subprocess.run([headrace, "plugins", "list", "--json"], capture_output=True, text=True, check=True).stdout
    found = json.loads(listed)
    assert [plugin for plugin in found if plugin["state"] != "loaded"] == []
    distributions = {plugin["distribution"].replace("-", "_") for plugin in found}
    assert distributions >= {path.name.partition("-")[0] for path in wheels.glob("headrace_*.whl")}


def test_the_gateway_runs_from_the_wheels(headrace: Path, tmp_path: Path) -> None:
    config = tmp_path / "headrace.toml"
    config.write_text(CONFIG.format(type="echo"))
    with serving(headrace, config) as url:
        assert ask(url, "hello") == [{"type": "text", "text": "hello"}]


def test_core_alone_is_well(wheels: Path, tmp_path: Path) -> None:
    headrace = clean(tmp_path / "venv", wheels, "headrace")
    done = subprocess.run([headrace, "plugins", "doctor"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" 0 problems\n")


def test_a_plugin_from_outside_is_found_and_serves(wheels: Path, tmp_path: Path) -> None:
    folder = new_plugin.make("providers", "parrot", tmp_path)
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(folder)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("headrace_parrot-*.whl")
    headrace = clean(tmp_path / "venv", wheels, wheel, "headrace-chat-completion", "headrace-memory")
    config = tmp_path / "headrace.toml"
    config.write_text(CONFIG.format(type="parrot"))
    with serving(headrace, config) as url:
        assert ask(url, "hello") == [{"type": "text", "text": "hello"}]
