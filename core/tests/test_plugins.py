"""Plugins that misbehave in every way we know, as real distributions that a real interpreter finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from headrace import plugins
from headrace.errors import ConfigError, PluginError

GOOD = """
from headrace import Factory, hookimpl
from pydantic import BaseModel

class Settings(BaseModel):
    size: int
    words: list[str] = ["a"]

@hookimpl
def headrace_providers():
    return [Factory({type!r}, Settings, lambda settings, services: None)]
"""

# Every way to misbehave that still leaves an interpreter: body, state, and words that the reason must hold.
BAD = {
    "raises at import": ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
    "does not parse": ("def", "failed", "SyntaxError"),
    "exits": ("raise SystemExit(0)", "failed", "SystemExit"),
    "raises beyond Exception": ("class Odd(BaseException): ...\nraise Odd('beyond')", "failed", "beyond"),
    "raises what cannot be printed": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "failed",
        "Mute",
    ),
    "recurses": ("def f(): f()\nf()", "failed", "RecursionError"),
    "skips": ("from headrace import SkipPlugin\nraise SkipPlugin('no GPU here')", "skipped", "no GPU here"),
    "misspells a hook": (
        "from headrace import hookimpl\n@hookimpl\ndef headrace_provider(): return []",
        "failed",
        "unknown hook 'headrace_provider'",
    ),
    "forgets the marker": ("def headrace_providers(): return []", "failed", "headrace_providers lacks @hookimpl"),
    "adds a parameter": (
        "from headrace import hookimpl\n@hookimpl\ndef headrace_providers(config): return []",
        "failed",
        "config",
    ),
    "returns no list": (
        "from headrace import hookimpl\n@hookimpl\ndef headrace_stores(): return 7",
        "failed",
        "headrace_stores must return a list of Factory, found int",
    ),
    "returns strangers": (
        "from headrace import hookimpl\n@hookimpl\ndef headrace_stores(): return ['sqlite']",
        "failed",
        "found str in it",
    ),
    "has settings that are no model": (
        "from headrace import Factory, hookimpl\n@hookimpl\n"
        "def headrace_stores(): return [Factory('x', dict, lambda settings, services: None)]",
        "failed",
        "config of 'x' must be a pydantic model",
    ),
    "has a hook that raises": (
        "from headrace import hookimpl\n@hookimpl\ndef headrace_stores(): raise OSError('no disk')",
        "failed",
        "OSError: no disk",
    ),
}

# What takes the interpreter down with it, or never comes back.
DEADLY = {
    "exits at once": ("import os\nos._exit(3)", "ended the interpreter with exit status 3"),
    "exits quietly": ("import os\nos._exit(0)", "ended the interpreter with exit status 0"),
    "segfaults": ("import ctypes\nctypes.string_at(0)", "crashed the interpreter with signal 11"),
    "aborts": ("import os\nos.abort()", "crashed the interpreter with signal 6"),
    "hangs": ("import time\ntime.sleep(60)", "did not finish loading within the time limit"),
    "hangs with a child": (
        "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])\n"
        "time.sleep(60)",
        "did not finish loading within the time limit",
    ),
}

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Put a distribution with one plugin into ``tmp_path``, the way an installer would."""

    def install(name: str, body: str, *, requires: str = "headrace>=0.1,<0.2") -> None:
        module = f"headrace_{name}"
        (tmp_path / f"{module}.py").write_text(body)
        info = tmp_path / f"{module}-1.5.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: headrace-{name}\nVersion: 1.5\nSummary: says {name}\n"
        (info / "METADATA").write_text(f"{metadata}Requires-Dist: {requires}\n")
        (info / "entry_points.txt").write_text(f"[headrace]\n{name} = {module}\n")

    return install


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> plugins.Registry:
    """Load, in this process, what was made in ``folder`` and nothing else."""
    monkeypatch.syspath_prepend(str(folder))
    for path in folder.glob("headrace_*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    points = [point for found in distributions(path=[str(folder)]) for point in found.entry_points]
    return plugins.load(sorted(points), **options)


def headrace(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command where it also finds what is in ``folder``."""
    return python(folder, "from headrace.cli import main; main()", *arguments, **environment)


def python(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter that also sees ``folder``."""
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def listed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return {plugin["name"]: plugin for plugin in json.loads(done.stdout)}


def test_a_loaded_plugin_offers_its_type(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("good", GOOD.format(type="good"))
    registry = load(tmp_path, monkeypatch)
    assert registry.types("provider") == ["good"]
    assert registry.get("provider", "good", where="type").name == "good"
    assert [plugin.state for plugin in registry.plugins] == ["loaded"]
    registry.check(strict=True)


@pytest.mark.parametrize(("body", "state", "reason"), BAD.values(), ids=BAD)
def test_a_bad_plugin_ends_with_a_reason_and_leaves_the_rest_alone(
    body: str, state: str, reason: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("abad", body)
    make("good", GOOD.format(type="good"))
    registry = load(tmp_path, monkeypatch)
    bad, good = registry.plugins
    assert (bad.state, good.state) == (state, "loaded")
    assert reason in bad.reason
    assert "\n" not in bad.reason
    assert bool(bad.detail) == (state == "failed")


def test_a_plugin_for_another_headrace_is_not_imported(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("future", "raise AssertionError('imported')", requires="headrace>=9")
    (plugin,) = load(tmp_path, monkeypatch).plugins
    assert plugin.state == "incompatible"
    assert "needs headrace>=9, this is headrace 0." in plugin.reason


def test_a_requirement_of_an_extra_is_not_a_requirement(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("extra", GOOD.format(type="extra"), requires='headrace>=9; extra == "future"')
    (plugin,) = load(tmp_path, monkeypatch).plugins
    assert plugin.state == "loaded"


def test_a_disabled_plugin_is_not_imported(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("two_words", "raise AssertionError('imported')")
    (plugin,) = load(tmp_path, monkeypatch, disabled=["two-words"]).plugins
    assert plugin.state == "skipped"


def test_a_type_offered_twice_is_an_error_that_names_both(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("one", GOOD.format(type="same"))
    make("other", GOOD.format(type="same"))
    with pytest.raises(PluginError, match='provider type "same" is offered by headrace-one and headrace-other'):
        load(tmp_path, monkeypatch).check()


def test_an_unknown_type_is_told_with_what_is_there(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("good", GOOD.format(type="good"))
    make("openai", "import nothing_of_that_name")
    registry = load(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=r'models\.m\.type = "goood" is not an installed type \(providers: good\)$'):
        registry.get("provider", "goood", where="models.m.type")
    with pytest.raises(ConfigError, match=r"headrace-openai is installed but failed: ModuleNotFoundError"):
        registry.get("provider", "openai", where="models.m.type")


def test_strict_refuses_a_failed_plugin_and_the_default_does_not(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("bad", "1 / 0")
    registry = load(tmp_path, monkeypatch)
    registry.check()
    with pytest.raises(PluginError, match="headrace-bad failed: ZeroDivisionError"):
        registry.check(strict=True)


def test_deadly_plugins_are_failed_plugins_and_the_rest_is_loaded(make: Make, tmp_path: Path) -> None:
    for number, (body, _) in enumerate(DEADLY.values()):
        make(f"deadly{number}", body)
    make("zgood", "print('a plugin may print')\n" + GOOD.format(type="good"))
    ask = (
        "from headrace.cli import survey; import msgspec; print(msgspec.json.encode(survey.survey(limit_s=2)).decode())"
    )
    reports = json.loads(python(tmp_path, ask).stdout)
    found = {report["plugin"]["name"]: report["plugin"] for report in reports}
    for number, (_, reason) in enumerate(DEADLY.values()):
        assert found[f"deadly{number}"]["state"] == "failed"
        assert found[f"deadly{number}"]["reason"].startswith(reason)
    assert found["zgood"]["types"] == [["provider", "good"]]
    assert found["echo"]["state"] == "loaded"


def test_list_survives_a_plugin_that_ends_the_interpreter(make: Make, tmp_path: Path) -> None:
    make("deadly", DEADLY["segfaults"][0])
    found = listed(headrace(tmp_path, "plugins", "list", "--json"))
    assert (found["deadly"]["state"], found["echo"]["state"]) == ("failed", "loaded")


def test_list_shows_a_row_for_every_plugin(make: Make, tmp_path: Path) -> None:
    make("bad", "raise ValueError('[/not markup]')")
    make("good", GOOD.format(type="good"))
    lines = headrace(tmp_path, "plugins", "list").stdout.splitlines()
    assert lines[0].split() == ["kind", "type", "plugin", "distribution", "version", "state"]
    assert ["provider", "good", "good", "headrace-good", "1.5", "loaded"] in [line.split() for line in lines]
    assert any("failed: ValueError: [/not markup]" in line for line in lines)


def test_list_honours_the_environment(make: Make, tmp_path: Path) -> None:
    make("deadly", DEADLY["exits at once"][0])
    done = headrace(tmp_path, "plugins", "list", "--json", HEADRACE_DISABLE_PLUGINS="nothing, deadly")
    assert listed(done)["deadly"]["state"] == "skipped"


def test_info_shows_settings_and_traceback(make: Make, tmp_path: Path) -> None:
    make("bad", "def deep(): raise ValueError('why')\ndeep()")
    make("good", GOOD.format(type="good"))
    bad = headrace(tmp_path, "plugins", "info", "bad").stdout
    assert "says bad" in bad
    assert "in deep" in bad
    good = headrace(tmp_path, "plugins", "info", "headrace-good").stdout
    rows = [line.split() for line in good.splitlines()]
    assert ["size", "int", "required"] in rows
    assert ["words", "list[str]", "['a']"] in rows


def test_info_of_an_unknown_plugin_names_the_known(tmp_path: Path) -> None:
    done = headrace(tmp_path, "plugins", "info", "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("headrace: error: nobody is not an installed plugin (installed: ")
    assert "Traceback" not in done.stderr


def test_doctor_is_content_without_trouble(tmp_path: Path) -> None:
    done = headrace(tmp_path, "plugins", "doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("plugins, 0 problems\n")


def test_doctor_says_what_to_do_about_each_trouble(make: Make, tmp_path: Path) -> None:
    make("bad", "1 / 0")
    make("future", "", requires="headrace>=9")
    make("one", GOOD.format(type="same"))
    make("other", GOOD.format(type="same"))
    done = headrace(tmp_path, "plugins", "doctor")
    assert done.returncode == 1
    assert "headrace-bad failed: ZeroDivisionError: division by zero: see `headrace plugins info bad`" in done.stdout
    assert "pip install --upgrade headrace headrace-future" in done.stdout
    assert 'provider type "same" is offered by headrace-one and headrace-other: uninstall one' in done.stdout
    assert json.loads(headrace(tmp_path, "plugins", "doctor", "--json").stdout)["problems"] != []
