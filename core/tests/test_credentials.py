"""Where secrets come from, when a missing one is found, and that none is ever printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.credentials import Location, load
from headrace.errors import ConfigError, MissingCredential

ENVIRON = {"KEY": "sk-env", "EMPTY": ""}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "key").write_text("sk-file\n")
    return {**ENVIRON, "FILE": str(tmp_path / "key"), "NOWHERE": str(tmp_path / "missing")}


@pytest.mark.parametrize(
    ("location", "secret"),
    [
        ("env::KEY", "sk-env"),
        ("path_from_env::FILE", "sk-file"),
        ("path::{folder}/key", "sk-file"),
        ("dynamic::mine", "sk-brought"),
        ("sdk", None),
        ("none", None),
        ("env::EMPTY", ""),
    ],
)
def test_every_location_is_read(environ: dict[str, str], tmp_path: Path, location: str, secret: str | None) -> None:
    loaded = load(location.format(folder=tmp_path), environ)
    assert loaded.reveal({"mine": "sk-brought", "KEY": "not this"}) == secret


@pytest.mark.parametrize(
    "location", ["sk-secret", "env:KEY", "env::", "ENV::KEY", "http::x", "", "dynamic::", "::", "sdk::", "None"]
)
def test_another_form_is_refused(location: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(location, ENVIRON)
    assert str(caught.value) == (
        f"Invalid credential location format: `{location}`. "
        "Use `env::VAR_NAME`, `path::FILE_PATH`, `dynamic::KEY_NAME`, or `sdk`."
    )


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("env::NOPE", "Environment variable `NOPE` is missing"),
        ("path_from_env::NOPE", "Environment variable `NOPE` is missing"),
        ("path_from_env::NOWHERE", "/missing` cannot be read: No such file or directory"),
        ("path::{folder}", "` cannot be read: Is a directory"),
        ("path::{folder}/binary", "` cannot be read: not UTF-8 text"),
    ],
    ids=["env", "path-from-env", "path-from-env-file", "folder", "binary"],
)
def test_what_is_missing_is_found_when_loading(
    environ: dict[str, str], tmp_path: Path, location: str, complaint: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        load(location.format(folder=tmp_path), environ)
    assert complaint in str(caught.value)


def test_a_static_secret_is_read_once(environ: dict[str, str], tmp_path: Path) -> None:
    secret = load("path_from_env::FILE", environ)
    (tmp_path / "key").write_text("changed")
    assert secret.reveal({}) == "sk-file"


def test_a_dynamic_secret_that_was_not_brought_is_named() -> None:
    with pytest.raises(MissingCredential) as caught:
        load("dynamic::mine", {}).reveal({"other": "x"})
    caught.value.provider_type = "openai"
    assert str(caught.value) == "API key missing for provider openai: Dynamic api key `mine` is missing"


# -- pairs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "fallback", "brought", "secret"),
    [
        ("dynamic::mine", "env::KEY", {"mine": "sk-brought"}, "sk-brought"),
        ("dynamic::mine", "env::KEY", {}, "sk-env"),
        ("dynamic::mine", "none", {}, None),
        ("dynamic::mine", "dynamic::yours", {"yours": "sk-yours"}, "sk-yours"),
        ("env::KEY", "dynamic::mine", {"mine": "sk-brought"}, "sk-env"),
        ("dynamic::mine", "env::KEY", {"mine": ""}, ""),
    ],
    ids=["brought", "not-brought", "none", "second-brought", "static-first", "empty-is-brought"],
)
def test_a_pair_falls_back_when_the_default_was_not_brought(
    default: str, fallback: str, brought: dict[str, str], secret: str | None
) -> None:
    assert load({"default": default, "fallback": fallback}, ENVIRON).reveal(brought) == secret


def test_a_pair_of_which_neither_was_brought_names_the_last() -> None:
    pair: Location = {"default": "dynamic::mine", "fallback": "dynamic::yours"}
    with pytest.raises(MissingCredential, match="`yours`"):
        load(pair, {}).reveal({})


@pytest.mark.parametrize("missing", ["default", "fallback"])
def test_both_of_a_pair_are_loaded_at_once(missing: str) -> None:
    with pytest.raises(ConfigError, match="`NOPE` is missing"):
        load({"default": "env::KEY", "fallback": "env::KEY", missing: "env::NOPE"}, ENVIRON)


@pytest.mark.parametrize(
    "pair",
    [{"default": "none"}, {"fallback": "none"}, {}, {"default": "none", "fallback": "none", "third": "none"}],
    ids=["no-fallback", "no-default", "empty", "three"],
)
def test_a_pair_has_exactly_two_members(pair: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="a credential pair has exactly `default` and `fallback`, not"):
        load(pair, ENVIRON)


@pytest.mark.parametrize(
    "location",
    ["env::KEY", "none", "dynamic::mine", {"default": "dynamic::mine", "fallback": "env::KEY"}],
    ids=["static", "none", "dynamic", "pair"],
)
def test_a_secret_never_prints_its_value(location: Location) -> None:
    secret = load(location, ENVIRON)
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert "sk-" not in shown
        assert shown
