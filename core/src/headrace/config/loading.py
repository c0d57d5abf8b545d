"""From a glob, or a text, to a checked ``Config`` with the hash that records will carry."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import blake3
import tomlkit
from pydantic import ValidationError

from ..errors import ConfigError
from . import merging
from .problems import describe
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
    tree, files = merging.read(merging.find(pattern))
    return _config(tree, files)


def loads(text: str = "") -> Config:
    """Load from TOML text that names no files; an empty text is the default configuration."""
    try:
        return _config(tomllib.loads(text), {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None


def _config(tree: dict[str, Any], files: Mapping[str, str]) -> Config:
    try:
        tables = Tables.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*describe(error)) from None
    text = tomlkit.dumps(_normal(tree))
    digest = blake3.blake3(text.encode() + b"\0")
    for name, body in sorted(files.items()):
        digest.update(name.encode() + b"\0" + body.encode() + b"\0")
    return Config(tables, text, files, str(int.from_bytes(digest.digest(), "big")))


def _normal(tree: Any) -> Any:
    """Keys sorted at every level, files by their names: the same configuration gives the same text."""
    if isinstance(tree, dict):
        if set(tree) == {merging.NAME, merging.DATA}:
            return tree[merging.NAME]
        return {key: _normal(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list):
        return [_normal(value) for value in tree]
    return tree
