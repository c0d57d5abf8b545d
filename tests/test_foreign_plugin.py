"""A plugin from outside the workspace, made from a template. In test_wheels.py one is installed beside headrace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import new_plugin
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("kind", new_plugin.TEMPLATES)
def test_a_new_plugin_is_green_as_it_is_made(kind: str, tmp_path: Path) -> None:
    folder = new_plugin.make(kind, "my-own", tmp_path)
    (tmp_path / "conftest.py").write_bytes((ROOT / "conftest.py").read_bytes())
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    # On one event loop: what it was copied from is tested on both.
    command += ["-k", "not trio", "-o", f"pythonpath={folder / 'src'}", str(folder / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    ruff = [str(Path(sys.executable).with_name("ruff")), "--config", str(ROOT / "pyproject.toml")]
    subprocess.run([*ruff, "check", "--quiet", str(folder / "src")], check=True)
    subprocess.run([*ruff, "format", "--check", "--quiet", str(folder)], check=True)


def test_a_new_plugin_carries_its_own_name_only(tmp_path: Path) -> None:
    folder = new_plugin.make("providers", "my-own", tmp_path)
    init = (folder / "src/headrace_my_own/__init__.py").read_text(encoding="utf-8")
    assert 'Factory("my_own", Settings, MyOwn)' in init
    assert 'my-own = "headrace_my_own"' in (folder / "pyproject.toml").read_text(encoding="utf-8")
    assert 'type = "my_own"' in (folder / "README.md").read_text(encoding="utf-8")
    left = [
        path for path in folder.rglob("*") if path.is_file() and "headrace_echo" in path.read_text(encoding="utf-8")
    ]
    assert left == []


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("providers", "My_Own", "is not a name"),
        ("providers", "../own", "is not a name"),
        ("providers", "sqlite", "a plugin of that name already"),
        ("gateways", "own", "the kinds are providers, stores"),
    ],
    ids=["spelling", "path", "taken", "kind"],
)
def test_a_bad_name_is_refused_before_anything_is_written(kind: str, name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(new_plugin.Refused, match=reason):
        new_plugin.make(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []
