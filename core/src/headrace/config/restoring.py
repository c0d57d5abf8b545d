"""From a configuration that somebody brings whole, files and all, to a checked ``Config``. Reads nothing from disk."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import ConfigError
from .loading import Config, config_of, hash_of
from .merging import DATA, NAME, PATH_KEYS
from .problems import Problems


def restored(config: str | Mapping[str, Any], files: Mapping[str, str]) -> Config:
    """The configuration of this TOML (or the same as a tree) and the text of the files it names, by name.

    Files that it does not name are those that its templates include. What was loaded and is restored from its own text
    and files has the same hash. Raise ConfigError with all that is wrong.
    """
    try:
        tree = _without_none(tomllib.loads(config) if isinstance(config, str) else config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError("nested too deeply") from None
    problems, used = Problems(), set[str]()
    access = tree.get("gateway", {})
    access = access.get("template_filesystem_access", {}) if isinstance(access, dict) else {}
    if isinstance(access, dict) and "base_path" in access:
        problems.add(
            "`gateway.template_filesystem_access.base_path`",
            "no folder is read for a configuration that is brought whole; leave it out, and bring the files",
        )
        del access["base_path"]
    for pattern in PATH_KEYS:
        _put(tree, pattern, (), files, used, problems)
    found = config_of(tree, problems)
    includes = {name: text for name, text in sorted(files.items()) if name not in used}
    return replace(found, includes=includes, hash=hash_of(found.text, found.files, includes))


def _put(
    tree: Any,
    pattern: tuple[str, ...],
    at: tuple[str, ...],
    files: Mapping[str, str],
    used: set[str],
    problems: Problems,
) -> None:
    """Put a file's text in the place of its name."""
    if not isinstance(tree, dict):
        return
    head, *rest = pattern
    for key in list(tree) if head == "*" else [head] if head in tree else []:
        if rest:
            _put(tree[key], tuple(rest), (*at, key), files, used, problems)
            continue
        name = tree[key]
        if (
            isinstance(name, dict)
            and set(name) == {NAME, DATA}
            and all(isinstance(part, str) for part in name.values())
        ):
            used.add(name[NAME])
        elif isinstance(name, str) and name in files:
            used.add(name)
            tree[key] = {NAME: name, DATA: files[name]}
        else:
            problems.add(f"`{'.'.join((*at, key))}`", f"no text of this file is there: {str(name)[:200]!r}")
            tree[key] = {NAME: "", DATA: ""}  # something that fits, so that the rest can be checked as well


def _without_none(tree: Any) -> Any:
    """A copy without what is null, which TOML does not have."""
    if isinstance(tree, Mapping):
        return {str(key): _without_none(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [_without_none(value) for value in tree if value is not None]
    return tree
