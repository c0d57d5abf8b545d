"""Several TOML files into one: what a glob finds, how tables merge, what a path means, what the hash stands for."""

from __future__ import annotations

import logging
import os
import tomllib
from pathlib import Path

import pytest
from headrace.config import Config, load, loads
from headrace.config.merging import PATH_KEYS, find
from headrace.errors import ConfigError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def problems(pattern: str | Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(str(pattern))
    return caught.value.problems


def metric(name: str) -> str:
    return f'[metrics.{name}]\ntype = "boolean"\noptimize = "max"\nlevel = "inference"\n'


# -- globs ------------------------------------------------------------------------------------------------

TREE = ("a.toml", "b.toml", "c.conf", ".hidden.toml", "sub/d.toml", "sub/deep/e.toml", "sub/deep/f.txt")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.toml", [".hidden.toml", "a.toml", "b.toml"]),
        ("**/*.toml", [".hidden.toml", "a.toml", "b.toml", "sub/d.toml", "sub/deep/e.toml"]),
        ("sub/**", ["sub/d.toml", "sub/deep/e.toml", "sub/deep/f.txt"]),
        ("?.toml", ["a.toml", "b.toml"]),
        ("[ac].*", ["a.toml", "c.conf"]),
        ("{c.conf,a.toml,a.toml}", ["a.toml", "c.conf"]),
        ("{sub,nowhere}/*", ["sub/d.toml"]),
        ("c.conf", ["c.conf"]),
        ("su*/d.toml", ["sub/d.toml"]),
    ],
    ids=[
        "star",
        "two-stars",
        "all-below",
        "question-mark",
        "class",
        "braces-once",
        "braces-folder",
        "literal",
        "folder",
    ],
)
def test_a_glob_finds_files_sorted_by_path(tmp_path: Path, pattern: str, found: list[str]) -> None:
    write(tmp_path, dict.fromkeys(TREE, ""))
    assert [str(path.relative_to(tmp_path)) for path in find(f"{tmp_path}/{pattern}")] == found


@pytest.mark.parametrize("name", ["a[1].toml", "{x}.toml", "what?.toml", "st*r.toml"])
def test_a_literal_path_may_hold_metacharacters(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: ""})
    assert find(str(tmp_path / name)) == [tmp_path / name]


@pytest.mark.parametrize(("pattern", "warns"), [("*.toml", True), ("**/*.toml", False), ("?.toml", False)])
def test_one_star_warns_that_it_does_not_descend(
    tmp_path: Path, pattern: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a.toml": ""})
    with caplog.at_level(logging.WARNING):
        find(f"{tmp_path}/{pattern}")
    assert ("does not descend into directories" in caplog.text) is warns


def test_folders_behind_links_are_not_entered(tmp_path: Path) -> None:
    write(tmp_path, {"real/a.toml": ""})
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real", target_is_directory=True)
    assert find(f"{tmp_path}/**/*.toml") == [tmp_path / "real/a.toml"]


@pytest.mark.parametrize("pattern", ["*.toml", "missing.toml", "", "folder"], ids=["glob", "file", "nothing", "folder"])
def test_no_match_is_an_error_that_quotes_the_glob(tmp_path: Path, pattern: str) -> None:
    write(tmp_path, {"folder/a.txt": ""})
    [problem] = problems(f"{tmp_path}/{pattern}")
    assert problem.startswith(f"Error using glob: `{tmp_path}/{pattern}`: No files matched the glob pattern. Ensure")


# -- parsing ----------------------------------------------------------------------------------------------


def test_files_that_are_not_toml_are_all_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.toml": "x =", "b.toml": "", "c.toml": "[t]\n[t]"})
    (tmp_path / "d.toml").write_bytes(b"x = '\xff'")
    found = problems(f"{tmp_path}/*.toml")
    assert [problem.partition(": not valid TOML: ")[0] for problem in found] == [
        str(tmp_path / name) for name in ("a.toml", "c.toml", "d.toml")
    ]


def test_empty_files_are_the_default_configuration(tmp_path: Path) -> None:
    write(tmp_path, {"a.toml": "", "b.toml": "# nothing\n"})
    assert load(f"{tmp_path}/*.toml") == loads()


# -- merging ----------------------------------------------------------------------------------------------


def test_tables_merge_over_files_key_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.toml": '[functions.f]\ntype = "chat"\n[functions.f.variants.x]\ntype = "one"\n' + metric("m"),
            "b.toml": '[functions.f]\ndescription = "both"\n[functions.f.variants.x]\nmodel = "m"\n',
            "c.toml": '[functions.f.variants.y]\ntype = "two"\n',
        },
    )
    tables = load(f"{tmp_path}/*.toml").tables
    function = tables.functions["f"]
    assert function.description == "both"
    assert function.variants == {"x": {"type": "one", "model": "m"}, "y": {"type": "two"}}
    assert list(tables.metrics) == ["m"]


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("[gateway]\ndebug = true", "[gateway]\ndebug = true", "gateway.debug"),
        ('[models.m]\nrouting = ["a"]', '[models.m]\nrouting = ["b"]', "models.m.routing"),
        ("[[optimizers.o.l]]\nx = 1", "[[optimizers.o.l]]\ny = 1", "optimizers.o.l"),
        ("[x]\nat = 2026-01-01", "[x]\nat = 2026-01-01", "x.at"),
        ("[x]\ny = 1", "[x.y]\nz = 1", "x.y"),
        ('["a.b"]\nx = 1', '["a.b"]\nx = 2', "a.b.x"),
    ],
    ids=["scalar", "array", "array-of-tables", "date", "table-over-scalar", "dotted-key"],
)
def test_a_value_given_twice_names_the_key_and_both_files(tmp_path: Path, first: str, second: str, key: str) -> None:
    write(tmp_path, {"1.toml": first, "2.toml": second})
    assert (
        f"`{key}`: Found duplicate values in globbed TOML config files `{tmp_path}/1.toml` and `{tmp_path}/2.toml`"
        in problems(f"{tmp_path}/*.toml")
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ('"x"', "string"),
        ("1", "integer"),
        ("1.5", "float"),
        ("true", "boolean"),
        ("[1]", "array"),
        ("12:00:00", "datetime"),
    ],
    ids=lambda value: str(value).strip('"'),
)
def test_a_value_over_a_table_names_its_kind_and_both_files(tmp_path: Path, value: str, kind: str) -> None:
    # `a.bc` stands before `a.b` and in another file: the error must not mix them up.
    write(tmp_path, {"1.toml": "[a.bc]\nx = 1", "2.toml": "[a.b]\nx = 1", "3.toml": f"[a]\nb = {value}"})
    assert (
        f"`a.b`: Cannot merge `{kind}` from file `{tmp_path}/3.toml` into a table from file `{tmp_path}/2.toml`"
        in problems(f"{tmp_path}/*.toml")
    )


# -- paths ------------------------------------------------------------------------------------------------

FUNCTION = '[functions.f]\ntype = "chat"\nvariants = {}\n'


def test_a_path_is_relative_to_the_file_it_stands_in(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a/one.toml": FUNCTION + 'user_schema = "s.json"\n',
            "a/s.json": '"a"',
            "b/two.toml": '[tools.t]\ndescription = "d"\nparameters = "../c/s.json"\n',
            "c/s.json": '"c"',
        },
    )
    config = load(f"{tmp_path}/**/*.toml")
    schema, tool = config.tables.functions["f"].user_schema, config.tables.tools["t"].parameters
    assert schema is not None
    assert (schema.name, schema.text) == ("a/s.json", '"a"')
    assert (tool.name, tool.text) == ("c/s.json", '"c"')
    assert config.files == {"a/s.json": '"a"', "c/s.json": '"c"'}


def test_absolute_paths_and_links_lead_to_the_file_itself(tmp_path: Path) -> None:
    write(tmp_path, {"real/s.json": "1", "x.toml": FUNCTION + f'user_schema = "{tmp_path}/link.json"\n'})
    (tmp_path / "link.json").symlink_to("real/s.json")
    assert load(str(tmp_path / "x.toml")).files == {"s.json": "1"}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ('"missing.json"', "Failed to resolve path `missing.json` (base: `{base}`): No such file or directory"),
        ('"folder"', "Expected a file path, but '{base}/folder' is a directory. Please provide a path to a file."),
        ('{ path = "x" }', "Expected a string, found table"),
        ("7", "Expected a string, found integer"),
        ('"latin.json"', "cannot read `{base}/latin.json` as UTF-8 text: "),
        ('"circle"', "Failed to resolve path `circle` (base: `{base}`): "),
        (r'"nul\u0000"', "Failed to resolve path `nul"),
    ],
    ids=["missing", "folder", "table", "integer", "latin-1", "circle", "nul"],
)
def test_a_path_that_leads_nowhere_names_its_key(tmp_path: Path, value: str, complaint: str) -> None:
    write(tmp_path, {"x.toml": FUNCTION + f"user_schema = {value}\n", "folder/x": ""})
    (tmp_path / "latin.json").write_bytes(b"\xe4")
    (tmp_path / "circle").symlink_to("circle")
    [problem] = problems(tmp_path / "x.toml")
    assert problem.startswith("`functions.f.user_schema`: " + complaint.format(base=tmp_path))


@pytest.mark.parametrize("pattern", PATH_KEYS, ids=".".join)
def test_every_path_key_is_read(tmp_path: Path, pattern: tuple[str, ...]) -> None:
    keys = ["x" if key == "*" else key for key in pattern]
    write(tmp_path, {"x.toml": f'[{".".join(keys[:-1])}]\n{keys[-1]} = "missing"\n'})
    key = ".".join(keys)
    assert f"`{key}`: Failed to resolve path `missing`" in "\n".join(problems(tmp_path / "x.toml"))


def test_other_strings_stay_strings(tmp_path: Path) -> None:
    write(tmp_path, {"x.toml": FUNCTION + 'description = "s.json"\n', "s.json": "{}"})
    config = load(str(tmp_path / "x.toml"))
    assert config.tables.functions["f"].description == "s.json"
    assert config.files == {}


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "1.toml": FUNCTION + 'user_schema = "no"\nsystem_schema = "nope"\ndescription = "a"\n',
            "2.toml": '[functions.f]\ndescription = "b"\n[gateway]\nbasepath = "/"\ndebug = "no"\n',
        },
    )
    starts = ["`functions.f.system_schema`", "`functions.f.user_schema`", "`functions.f.description`"]
    starts += ["gateway.debug", "gateway.basepath"]
    assert [problem.partition(":")[0] for problem in problems(f"{tmp_path}/*.toml")] == starts


# -- names of templates -----------------------------------------------------------------------------------


def with_templates(folder: Path, toml: str, *templates: str) -> Config:
    lines = [f'variants.v{index}.templates.t.path = "{path}"\n' for index, path in enumerate(templates)]
    write(folder, {toml: '[functions.f]\ntype = "chat"\n' + "".join(lines)})
    return load(str(folder / toml))


@pytest.mark.parametrize(
    ("templates", "names"),
    [
        (("t/a.minijinja",), ["a.minijinja"]),
        (("t/a.minijinja", "t/b.minijinja"), ["a.minijinja", "b.minijinja"]),
        (("t/a.minijinja", "t/u/b.minijinja"), ["a.minijinja", "u/b.minijinja"]),
        (("t/u/b.minijinja", "t/v/b.minijinja"), ["u/b.minijinja", "v/b.minijinja"]),
        (("t/uv/b.minijinja", "t/uw/b.minijinja"), ["uv/b.minijinja", "uw/b.minijinja"]),
        (("t/a.minijinja", "t/../t/a.minijinja"), ["a.minijinja"]),
    ],
    ids=["one", "same-folder", "nested", "siblings", "folders-not-letters", "same-file-twice"],
)
def test_a_template_is_named_by_its_path_below_the_common_folder(
    tmp_path: Path, templates: tuple[str, ...], names: list[str]
) -> None:
    write(tmp_path, dict.fromkeys(templates, "hi"))
    assert list(with_templates(tmp_path, "conf/x.toml", *(f"../{path}" for path in templates)).files) == names


def test_without_a_common_folder_names_are_absolute(tmp_path: Path) -> None:
    write(tmp_path, {"a.minijinja": "hi"})
    elsewhere = "/etc/hostname"
    assert list(with_templates(tmp_path, "x.toml", "a.minijinja", elsewhere).files) == sorted(
        [elsewhere, str(tmp_path / "a.minijinja")]
    )


# -- the hash ---------------------------------------------------------------------------------------------


def test_the_hash_does_not_depend_on_folder_file_or_order(tmp_path: Path) -> None:
    template = {"t/a.minijinja": "hi"}
    one = (
        '[functions.f]\ntype = "chat"\n[functions.f.variants.v]\ntype = "x"\ntemplates.t.path = "t/a.minijinja"\n'
        + metric("m")
    )
    other = metric("m") + '[functions.f.variants.v]\ntemplates.t.path = "../t/a.minijinja"\ntype = "x"\n'
    write(tmp_path / "here", {"x.toml": one, **template})
    write(tmp_path / "there" / "far", {"c/1.toml": other, "c/2.toml": '[functions.f]\ntype = "chat"\n', **template})
    first, second = load(str(tmp_path / "here/x.toml")), load(f"{tmp_path}/there/far/c/*.toml")
    assert (first.hash, first.text, first.files) == (second.hash, second.text, second.files)
    assert first.hash.isdecimal()


@pytest.mark.parametrize(
    "change",
    [{"a.minijinja": "hello"}, {"x.toml": '[functions.f]\ntype = "chat"\nvariants.v.templates.t.path = "b.minijinja"'}],
    ids=["template-text", "template-name"],
)
def test_another_template_gives_another_hash(tmp_path: Path, change: dict[str, str]) -> None:
    toml = '[functions.f]\ntype = "chat"\nvariants.v.templates.t.path = "a.minijinja"'
    write(tmp_path, {"x.toml": toml, "a.minijinja": "hi", "b.minijinja": "hi"})
    before = load(str(tmp_path / "x.toml"))
    write(tmp_path, change)
    assert load(str(tmp_path / "x.toml")).hash != before.hash


INLINE = 'user_schema = { __tensorzero_remapped_path = "s", __data = "%s" }\n'


def test_text_that_stands_in_the_configuration_counts_too() -> None:
    one, other = (loads(FUNCTION + INLINE % text) for text in "12")
    assert one.files == {"s": "1"}
    assert one.text == other.text
    assert one.hash != other.hash


def test_one_name_for_two_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match="two different files have the same `__tensorzero_remapped_path`"):
        loads(FUNCTION + INLINE % "1" + INLINE.replace("user", "system") % "2")


def test_the_normalised_text_says_what_the_files_said(tmp_path: Path) -> None:
    text = (
        'a = [{ z = 1, b = "x" }, { y = [1.5, true] }]\n"q.q" = 2026-01-01T00:00:00Z\n'
        "b = 'after'\n[a2]\nz = 1\n[a2.c]\nx = 1\n[[t]]\nk = \"ü\\n\"\n[[t]]\n"
    )
    config = loads(f"[x]\n{text.replace('[a2', '[x.a2').replace('[[t', '[[x.t')}")
    assert tomllib.loads(config.text) == {"x": tomllib.loads(text)}


def test_files_are_never_read_again(tmp_path: Path) -> None:
    write(tmp_path, {"x.toml": FUNCTION + 'user_schema = "s.json"', "s.json": "1"})
    config = load(str(tmp_path / "x.toml"))
    os.remove(tmp_path / "s.json")
    schema = config.tables.functions["f"].user_schema
    assert schema is not None
    assert schema.text == "1"
