"""What docs and CONTRIBUTING promise about this repository's shape, where a machine can check it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import changelog
import click
import pytest
from headrace import cli, config, hookspecs, plugins
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml"))
DISTRIBUTIONS = [ROOT / "core", *PLUGINS]
EACH_PLUGIN = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
EACH_DISTRIBUTION = pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)

# A library stands behind one module of core, so that replacing it is changing that module.
KEEPERS = {
    "asyncio": ("cli",),  # servers and signals; the gateway itself runs on trio as well
    "trio": (),
    "click": ("cli",),
    "rich": ("cli",),
    "granian": ("cli.servers",),
    "hypercorn": ("cli.servers",),
    "uvicorn": ("cli.servers",),
    "uvloop": ("cli",),
    "starlette": ("http", "asgi", "cli"),
    "httpx": ("http.outgoing", "importing.clickhouse"),
    "httpcore": ("fetching",),
    "filetype": ("fetching",),
    "brotli": ("http.compression",),
    "jsonschema_rs": ("schemas",),
    "minijinja": ("prompts",),
    "pluggy": ("hookspecs", "plugins"),
    "prometheus_client": ("telemetry",),
    "uuid_utils": ("ids",),
    "pytest": ("conformance",),
    "scipy": ("statistics",),
}
# The standard library: of this Python, and what later ones have that is imported only there.
STANDARD = sys.stdlib_module_names | {"compression"}
# What a plugin does not know of core. The contracts and the nouns are for plugins; running them is the host's business.
INNER = {
    "asgi",
    "assembly",
    "batches",
    "cli",
    "config",
    "datasets",
    "feedback",
    "gateway",
    "http",
    "plugins",
    "recorder",
}
# What the contracts are written in: who depends on headrace has these.
LENT = {"anyio", "msgspec", "pydantic"}


def listed() -> list[Path]:
    """Every file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


FILES = listed()
MODULES = [path for path in FILES if path.suffix == ".py"]


def project(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def snake(name: str) -> str:
    return name.replace("-", "_")


def shown(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def imports(path: Path) -> Iterator[str]:
    """The absolute names that a module imports, ``from a import b`` as ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@EACH_PLUGIN
def test_a_plugin_has_one_name_in_every_place(folder: Path) -> None:
    about, module = project(folder), f"headrace_{snake(folder.name)}"
    assert about["name"] == f"headrace-{folder.name}"
    assert about["entry-points"]["headrace"] == {folder.name: module}
    assert about["version"] == project(ROOT / "core")["version"]
    assert (folder / "src" / module / "__init__.py").is_file()
    (point,) = [point for point in plugins.installed() if point.name == folder.name]
    loaded, offers = plugins.load_one(point)
    assert loaded.state == "loaded", loaded.detail
    assert offers


@EACH_PLUGIN
def test_a_plugin_tells_how_to_use_it(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert f"pip install headrace-{folder.name}" in text
    assert "```toml" in text


@EACH_PLUGIN
def test_a_plugin_knows_only_contracts_and_what_it_depends_on(folder: Path) -> None:
    own = f"headrace_{snake(folder.name)}"
    depends = {snake(Requirement(line).name) for line in project(folder)["dependencies"]}
    for path in folder.glob("src/**/*.py"):
        for name in imports(path):
            first, second, *_ = [*name.split("."), ""]
            assert not (first == "headrace" and second in INNER), f"{path}: {name} is the host's business"
            assert not first.startswith("headrace_") or first == own or first in depends, f"{path}: {name}"


@EACH_DISTRIBUTION
def test_a_distribution_declares_what_it_imports(folder: Path) -> None:
    about, providers = project(folder), packages_distributions()
    lines = [
        *about["dependencies"],
        *(line for extra in about.get("optional-dependencies", {}).values() for line in extra),
    ]
    declared = {canonicalize_name(Requirement(line).name) for line in [*lines, about["name"]]}
    for path in folder.glob("src/**/*.py"):
        for first in {name.partition(".")[0] for name in imports(path)} - STANDARD:
            found = {canonicalize_name(name) for name in providers.get(first, [first])}
            assert found & (declared | LENT), f"{path} imports {first}, which {about['name']} does not depend on"


@EACH_DISTRIBUTION
def test_a_distribution_is_typed_tested_and_no_namespace(folder: Path) -> None:
    (package,) = (folder / "src").glob("headrace*/")
    assert (package / "py.typed").is_file()
    assert list((folder / "tests").glob("test_*.py"))
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {project(folder)['name']}\n")
    inner = {path.parent for path in package.rglob("*.py")}
    assert shown([path for path in inner if not (path / "__init__.py").is_file()]) == []


def test_a_library_is_imported_only_where_it_belongs() -> None:
    source, wrong = ROOT / "core/src/headrace", []
    for path in source.rglob("*.py"):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        for library in {name.partition(".")[0] for name in imports(path)} & set(KEEPERS):
            if not any(f"{module}.".startswith(f"{keeper}.") for keeper in KEEPERS[library]):
                wrong.append(f"{module} imports {library}, which belongs to {KEEPERS[library] or 'nobody in core'}")
    assert wrong == []


def test_every_module_opens_with_a_docstring() -> None:
    assert shown([path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]) == []


def test_no_module_is_longer_than_400_lines() -> None:
    assert shown([path for path in MODULES if path.read_text(encoding="utf-8").count("\n") > 400]) == []


def test_test_modules_have_different_names() -> None:
    # They are no packages, so mypy knows them by file name alone.
    names = Counter(path.name for path in MODULES if "src" not in path.relative_to(ROOT).parts)
    assert [name for name, count in names.items() if count > 1 and name != "conftest.py"] == []


def test_fakes_obey_contracts_instead_of_patching() -> None:
    patched = re.compile(r"unittest[.]mock|MagicMock[(]|monkeypatch[.]setattr|mocker[.]")
    assert shown([path for path in MODULES if patched.search(path.read_text(encoding="utf-8"))]) == []


def test_no_file_names_a_registry_and_no_lock_is_kept() -> None:
    registry = re.compile(r"pypi[.]org|pythonhosted[.]org|npmjs[.](org|com)|deb[.]debian[.]org|index-url\s*=")
    named = [path for path in FILES if registry.search(path.read_text(encoding="utf-8", errors="ignore"))]
    assert shown(named) == []
    assert shown([path for path in FILES if path.name.endswith(".lock") or path.name == "package-lock.json"]) == []


def test_scripts_can_be_run() -> None:
    scripts = [path for path in FILES if {"scripts", ".ci"} & set(path.relative_to(ROOT).parts) and not path.suffix]
    assert shown([path for path in scripts if not os.access(path, os.X_OK)]) == []


def test_fragments_and_decisions_are_named_as_agreed() -> None:
    fragment, decision = (
        re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md"),
        re.compile(r"\d{4}-[a-z0-9-]+\.md"),
    )
    assert shown([path for path in ROOT.glob("changes/*") if not fragment.fullmatch(path.name)]) == []
    assert shown([path for path in ROOT.glob("docs/decisions/*") if not decision.fullmatch(path.name)]) == []


def test_a_release_moves_fragments_under_their_version() -> None:
    first = changelog.release(
        "0.1.0", "2026-01-01", "# Changes\n\nHead.\n", {"b.fixed.md": "B.", "a.added.md": "A\na.\n"}
    )
    assert first == "# Changes\n\nHead.\n\n## 0.1.0 (2026-01-01)\n\n### Added\n\n- A\n  a.\n\n### Fixed\n\n- B.\n"
    second = changelog.release("0.2.0", "2026-02-01", first, {"c.removed.md": "C."})
    assert second.index("Head.") < second.index("## 0.2.0") < second.index("- C.") < second.index("## 0.1.0")


@pytest.mark.parametrize(
    ("required", "outcome"), [("", "1 skipped"), ("model", "1 skipped"), ("model,shared", "1 failed")], ids=str
)
def test_a_required_test_fails_rather_than_skips(required: str, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "conftest.py").read_bytes())
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.shared\ndef test_it(): pytest.skip('absent')\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    environment = {**os.environ, "HEADRACE_REQUIRE": required}
    assert outcome in subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def reference() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/reference/*.md")))


def test_every_hook_is_in_the_reference() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("headrace_")]
    assert sorted(hooks) == sorted(plugins.HOOKS.values())
    assert [name for name in hooks if f"`{name}`" not in reference()] == []


def options(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Every option of a command and of those below it, each with the command's whole name."""
    yield from ((path, option) for parameter in command.params for option in parameter.opts if option.startswith("--"))
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield f"{path} {name}", ""
            yield from options(below, f"{path} {name}")


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    missing = [f"{path} {option}" for path, option in options(cli.headrace, "headrace") if (option or path) not in text]
    assert missing == []


def test_every_configuration_key_is_in_the_reference() -> None:
    tables = [value for value in vars(config).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    assert tables
    keys = {f"{table.__name__}.{name}" for table in tables for name in table.model_fields}
    text = reference()
    assert sorted(key for key in keys if not re.search(rf"\b{key.partition('.')[2]}\b", text)) == []


@EACH_PLUGIN
def test_every_key_of_a_plugins_table_is_in_its_readme_or_the_reference(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8") + reference()
    (point,) = [point for point in plugins.installed() if point.name == folder.name]
    _, offers = plugins.load_one(point)
    keys = {key for _, offer in offers if hasattr(offer, "config") for key in offer.config.model_fields}
    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", text)) == []
