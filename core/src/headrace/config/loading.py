"""From a glob, or a text, to a checked ``Config`` with the hash that records will carry."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import blake3
import tomlkit

from ..errors import ConfigError
from . import merging
from .problems import Problems
from .tables import Tables


@dataclass(frozen=True)
class Config:
    """A configuration whose own tables are checked; plugin tables are checked at assembly.

    ``text`` is the normalised TOML, ``files`` the text of every file it names; ``hash`` is BLAKE3 over both, decimal.
    """

    tables: Tables
    text: str
    files: Mapping[str, str]
    hash: str


def load(pattern: str) -> Config:
    """Load every file that the glob names. Raise ConfigError with all that is wrong."""
    problems = Problems()
    return _config(merging.read(merging.find(pattern), problems), problems)


def loads(text: str = "") -> Config:
    """Load from TOML text that names no files; an empty text is the default configuration."""
    try:
        return _config(tomllib.loads(text), Problems())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None


def _config(tree: dict[str, Any], problems: Problems) -> Config:
    tables = Tables()
    with problems.at(""):
        tables = Tables.model_validate(tree)
    problems.check()
    named = sorted(set(_files(tree)))
    files = dict(named)
    if len(files) < len(named):
        raise ConfigError(f"two different files have the same `{merging.NAME}` (of: {', '.join(files)})")
    text = tomlkit.dumps(_normal(tree))
    digest = blake3.blake3(text.encode() + b"\0")
    for name, body in files.items():
        digest.update(name.encode() + b"\0" + body.encode() + b"\0")
    return Config(tables, text, files, str(int.from_bytes(digest.digest(), "big")))


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
