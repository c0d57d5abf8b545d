"""Templates that include others, and a whole tree of files as people have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace.config import Config, load
from headrace.config.globbing import find
from headrace.config.templating import Load, loads_of
from headrace.errors import ConfigError
from tensorzero_tree import PROVIDERS, plant


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


# -- which templates a template loads ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{% include 'a' %}", ("a",)),
        ('{%- include "a.txt" -%}', ("a.txt",)),
        ("{%+ include 'a' ignore missing +%}", ("a",)),
        ("{%\n include ['a', \"b\"] ignore missing with context %}", ("a", "b")),
        ("{% include ('a', 'b',) %}", ("a", "b")),
        ("{% include 'a' if x else 'b' %}", ("a", "b")),
        ("{% include 'a' if x %}", ("a",)),
        ("{% include ('a' if (y if z else q) else 'b') if x['if'] == \"else\" else ['c'] %}", ("a", "b", "c")),
        ("{% include 'a' if x else 'b' if y else 'c' %}", ("a", "b", "c")),
        ("{% import 'a' as b %}", ("a",)),
        ("{% from 'a' import b, c as d %}", ("a",)),
        ("{% extends 'a' %}", ("a",)),
        ("{% include 'a %} b' %}", ("a %} b",)),
        ("{% include x %}", None),
        ("{% include 'a' ~ x %}", None),
        ("{% include ['a', x] %}", None),
        ("{% include 'a' if x else y %}", None),
        ("{% include 'a'|upper %}", None),
        ("{% include f('a') %}", None),
        ("{% include %}", None),
        ("{% include ['a' %}", None),
    ],
)
def test_names_are_read_where_they_are_literal(source: str, names: tuple[str, ...] | None) -> None:
    assert [load.names for load in loads_of(source)] in ([names], [] if names is None else [names])
    if source != "{% include ['a' %}":
        assert [load.names for load in loads_of(source)] == [names]


@pytest.mark.parametrize(
    "source",
    [
        "include 'a'",
        "{# {% include 'a' %} #}",
        "{% raw %}{% include 'a' %}{% endraw %}",
        "{%- raw -%}{% include 'a' %}{%- endraw -%}",
        "{{ \"{% include 'a' %}\" }}",
        "{% set x = \"{% include 'a' %}\" %}",
        "{{ {'x': {'y': \"{% include 'a' %}\"}} }}",
        "{% raw %}{% include 'a' %}",
        "{# {% include 'a' %}",
        "{% include 'a'",
        "{% include 'a",
        "{% included 'a' %}",
    ],
)
def test_what_only_looks_like_a_load_is_none(source: str) -> None:
    assert list(loads_of(source)) == []


def test_scanning_goes_on_after_everything_and_knows_its_line() -> None:
    source = "{# c #}\n{% raw %}{{{% endraw %}\n{{ a }}{% if b %}\n{% include 'x' %}{% endif %}{% extends y %}"
    assert list(loads_of(source)) == [Load(4, "include", ("x",)), Load(4, "extends", None)]


# -- files that templates include (config spec 11.4) ------------------------------------------------------


def loaded(folder: Path, template: str, files: dict[str, str]) -> Config:
    toml = (
        '[gateway.template_filesystem_access]\nbase_path = "../parts"\n'
        '[functions.f]\ntype = "chat"\nvariants.v = { type = "x", system_template = "a.minijinja" }\n'
    )
    write(folder, {"config/x.toml": toml, "config/a.minijinja": template, "parts/here": "", **files})
    return load(str(folder / "config/x.toml"))


def test_everything_that_can_be_reached_is_read(tmp_path: Path) -> None:
    files = {"parts/b": "{% import 'sub/c' as c %}", "parts/sub/c": "{% include 'b' %}", "parts/other": "no"}
    config = loaded(tmp_path, "{% include 'b' %}", files)
    assert config.includes == {"b": files["parts/b"], "sub/c": files["parts/sub/c"]}
    assert list(config.files) == ["a.minijinja"]


def test_a_configured_template_wins_over_a_file_of_its_name(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{% include 'a.minijinja' %}", {"parts/a.minijinja": "other"}).includes == {}


def test_what_is_included_is_part_of_the_hash_and_its_folder_is_not(tmp_path: Path) -> None:
    one, same, other = (
        loaded(tmp_path / name, "{% include 'b' %}", {"parts/b": text})
        for name, text in (("1", "x"), ("2", "x"), ("3", "y"))
    )
    assert one.hash == same.hash
    assert one.text == same.text
    assert one.hash != other.hash


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "cannot be read"),
        ("../secret", "is refused"),
        ("sub/.hidden", "is refused"),
        ("sub\\\\x", "is refused"),
        ("link", "is refused: it leads out of"),
        ("latin", "cannot be read"),
        ("sub", "cannot be read"),
    ],
)
def test_a_file_that_is_not_there_or_not_to_be_read_only_warns(
    tmp_path: Path, name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"secret": "s", "parts/sub/.hidden": "s"})
    (tmp_path / "parts/link").symlink_to(tmp_path / "secret")
    (tmp_path / "parts/latin").write_bytes(b"\xe4")
    assert loaded(tmp_path, f"{{% include '{name}' ignore missing %}}", {}).includes == {}
    assert said in caplog.text


def test_names_known_only_at_run_time_are_all_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dynamic paths") as caught:
        loaded(tmp_path, "{% include x %}\n{% include 'b' %}", {"parts/b": "{% extends y %}"})
    assert "`a.minijinja` line 1: include; `b` line 1: extends" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("missing", "Failed to resolve path `missing`"), ("x.toml", "Expected a directory, but")],
)
def test_the_base_path_is_a_folder_beside_its_file(tmp_path: Path, path: str, complaint: str) -> None:
    write(tmp_path, {"x.toml": f'[gateway.template_filesystem_access]\nbase_path = "{path}"\n'})
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "x.toml"))
    assert caught.value.problems[0].startswith(f"`gateway.template_filesystem_access.base_path`: {complaint}")


# -- globs ------------------------------------------------------------------------------------------------


def test_links_are_left_out_with_a_warning_unless_named_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a.toml": ""})
    (tmp_path / "b.toml").symlink_to(tmp_path / "a.toml")
    assert find(f"{tmp_path}/*.toml") == [tmp_path / "a.toml"]
    assert f"`{tmp_path}/b.toml` is left out: links are not followed" in caplog.text
    assert find(f"{tmp_path}/b.toml") == [tmp_path / "b.toml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, {"a.toml": "", "closed/b.toml": ""})
    (tmp_path / "closed").chmod(0)
    assert find(f"{tmp_path}/**/*.toml") == [tmp_path / "a.toml"]
    (tmp_path / "closed").chmod(0o700)
    assert "is left out" in caplog.text


@pytest.mark.parametrize("pattern", ["*.toml", "./*.toml", "c/../*.toml", "{a,z}.toml"])
def test_a_relative_glob_starts_where_the_process_is(
    tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.toml": "", "c/z.txt": ""})
    monkeypatch.chdir(tmp_path)
    assert [path.resolve() for path in find(pattern)] == [tmp_path / "a.toml"]


def test_a_whole_tree_loads(tmp_path: Path) -> None:
    config = load(plant(tmp_path))
    tables = config.tables
    assert set(tables.models) == {f"{name}-model" for name in PROVIDERS}
    assert set(tables.functions["draft"].variants) == {"chat", "best", "mixture", "examples", "thought"}
    assert len(tables.rate_limiting.rules) == 2
    judge = tables.evaluations["quality"].evaluators["judge"]
    assert judge["variants"]["v"]["system_instructions"]["__data"] == "Judge."
    assert config.includes == {"rules.txt": "Be brief."}
    assert config.hash == load(f"{tmp_path}/**/*.toml").hash
