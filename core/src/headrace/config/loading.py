"""From a glob, or a text, to a checked ``Config`` with the hash that records will carry."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import blake3
import tomlkit

from ..errors import ConfigError
from . import includes, merging
from .deprecated import deprecations
from .problems import Problems
from .tables import Tables

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """A configuration whose own tables are checked; plugin tables are checked at assembly.

    ``text`` is the normalised TOML, ``files`` the text of every file it names, ``includes`` the text of files that
    templates include, by the names they use; ``hash`` is BLAKE3 over all three, decimal.
    """

    tables: Tables
    text: str
    files: Mapping[str, str]
    hash: str
    includes: Mapping[str, str] = field(default_factory=dict)


def load(pattern: str) -> Config:
    """Load every file that the glob names. Raise ConfigError with all that is wrong."""
    problems = Problems()
    tree = merging.read(merging.find(pattern), problems)
    if not tree:
        log.warning("Config file is empty, so only default functions will be available")
    return config_of(tree, problems)


def loads(text: str = "") -> Config:
    """Load from TOML text that names no files; an empty text is the default configuration."""
    try:
        return config_of(tomllib.loads(text), Problems())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None


def config_of(tree: dict[str, Any], problems: Problems) -> Config:
    """The checked configuration of a tree whose files are in it. Raise ConfigError with these problems and its own."""
    tables = Tables()
    with problems.at(""):
        tables = Tables.model_validate(tree)
    problems.check()
    named = sorted(set(_files(tree)))
    files = dict(named)
    if len(files) < len(named):
        raise ConfigError(f"two different files have the same `{merging.NAME}` (of: {', '.join(files)})")
    base_path = tables.gateway.template_filesystem_access.base_path
    included = {} if base_path is None else includes.collect(base_path, merging.templates(tree))
    for line in deprecations(tables):
        log.warning("Deprecation: %s", line)
    text = tomlkit.dumps(_normal(_without_base_path(tree)))
    return Config(tables, text, files, hash_of(text, files, included), included)


def hash_of(text: str, files: Mapping[str, str], included: Mapping[str, str]) -> str:
    """What records carry of a configuration: BLAKE3 over its text and its files, decimal."""
    digest = blake3.blake3(text.encode() + b"\0")
    for name, body in (*files.items(), *sorted(included.items())):
        digest.update(name.encode() + b"\0" + body.encode() + b"\0")
    return str(int.from_bytes(digest.digest(), "big"))


def _without_base_path(tree: dict[str, Any]) -> dict[str, Any]:
    """What was found there is kept beside the text; where it lay is this machine's affair."""
    gateway = tree.get("gateway", {})
    if "base_path" not in gateway.get("template_filesystem_access", {}):
        return tree
    access = {key: value for key, value in gateway["template_filesystem_access"].items() if key != "base_path"}
    return {**tree, "gateway": {**gateway, "template_filesystem_access": access}}


def _files(tree: Any) -> Iterator[tuple[str, str]]:
    """Name and text of every file in the tree."""
    if isinstance(tree, dict):
        if set(tree) == {merging.NAME, merging.DATA}:
            yield tree[merging.NAME], tree[merging.DATA]
        else:
            for value in tree.values():
                yield from _files(value)


def _normal(tree: Any) -> Any:
    """Keys sorted at every level, files by their names: the same configuration gives the same text."""
    if isinstance(tree, dict):
        if set(tree) == {merging.NAME, merging.DATA}:
            return tree[merging.NAME]
        return {key: _normal(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list):
        return [_normal(value) for value in tree]
    return tree
