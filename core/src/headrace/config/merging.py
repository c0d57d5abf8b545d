"""Several TOML files into one tree: glob, parse, merge, and every path key replaced by its file's text."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wcmatch import glob

from ..errors import ConfigError

log = logging.getLogger(__name__)

NAME, DATA = "__tensorzero_remapped_path", "__data"

_SLOTS = ("system_template", "user_template", "assistant_template", "system_instructions")
_WRAPPERS = ("input_wrappers.system", "input_wrappers.user", "input_wrappers.assistant")
_TEMPLATES = (*_SLOTS, *_WRAPPERS, "templates.*.path")

# Keys that name files (config spec 2.1). Any other string is a string.
PATH_KEYS: tuple[tuple[str, ...], ...] = tuple(
    tuple(pattern.split("."))
    for pattern in (
        *(f"functions.*.{role}_schema" for role in ("system", "user", "assistant", "output")),
        "functions.*.schemas.*.path",
        *(f"functions.*.variants.*.{key}" for key in _TEMPLATES),
        *(f"functions.*.variants.*.{part}.{key}" for part in ("evaluator", "fuser") for key in _TEMPLATES),
        *(
            f"{table}.*.evaluators.*.variants.*.{part}system_instructions"
            for table in ("evaluations", "functions")
            for part in ("", "evaluator.", "fuser.")
        ),
        "evaluations.*.evaluators.*.typescript_file",
        "functions.*.evaluators.*.typescript_file",
        "tools.*.parameters",
    )
)


def find(pattern: str) -> list[Path]:
    """The files that a glob names, sorted by path. Raise ConfigError if there is none."""
    if "*" in pattern and "**" not in pattern:
        log.warning("The glob `%s` does not descend into directories; use `**` if it should", pattern)
    flags = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB
    found = sorted(path for path in glob.glob(pattern, flags=flags) if os.path.isfile(path))
    if not found and os.path.isfile(pattern):  # a literal path may hold metacharacters
        found = [pattern]
    if not found:
        raise ConfigError(
            f"Error using glob: `{pattern}`: No files matched the glob pattern. "
            "Ensure that the path exists, and contains at least one file."
        )
    return [Path(path) for path in found]


def read(paths: list[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """The merged tree and the text of every file it names. Paths are relative to the TOML file they stand in."""
    merged: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    files: dict[str, str] = {}
    for path in paths:
        tree = _parse(path)
        for pattern in PATH_KEYS:
            _inline(tree, pattern, (), path.parent, files)
        _merge(merged, tree, (), path, origins)
    names = _names(list(files))
    _rename(merged, names)
    return merged, {names[path]: text for path, text in files.items()}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _merge(
    into: dict[str, Any], new: dict[str, Any], at: tuple[str, ...], path: Path, origins: dict[str, Path]
) -> None:
    for key, value in new.items():
        where = ".".join((*at, key))
        old = into.get(key)
        if key not in into:
            into[key] = value
            for leaf in _paths(value, (*at, key)):
                origins[".".join(leaf)] = path
        elif isinstance(old, dict) and isinstance(value, dict) and DATA not in old and DATA not in value:
            _merge(old, value, (*at, key), path, origins)
        elif isinstance(old, dict) and DATA not in old:
            first = next((file for leaf, file in origins.items() if leaf.startswith(where)), path)
            raise ConfigError(
                f"`{where}`: Cannot merge `{_toml_type(value)}` from file `{path}` into a table from file `{first}`"
            )
        else:
            raise ConfigError(
                f"`{where}`: Found duplicate values in globbed TOML config files "
                f"`{origins.get(where, path)}` and `{path}`"
            )


def _paths(value: Any, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every key path below a value, the value's own first."""
    yield at
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _paths(below, (*at, key))


def _toml_type(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "float", list: "array", dict: "table"}
    return names.get(type(value), "datetime")


def _inline(tree: Any, pattern: tuple[str, ...], at: tuple[str, ...], base: Path, files: dict[str, str]) -> None:
    if not isinstance(tree, dict):
        return
    head, *rest = pattern
    keys = list(tree) if head == "*" else [head] if head in tree else []
    for key in keys:
        if rest:
            _inline(tree[key], tuple(rest), (*at, key), base, files)
        else:
            tree[key] = _file(tree[key], ".".join((*at, key)), base, files)


def _file(value: Any, where: str, base: Path, files: dict[str, str]) -> dict[str, str]:
    if isinstance(value, dict) and set(value) == {NAME, DATA}:
        return value
    if not isinstance(value, str):
        raise ConfigError(f"`{where}`: Expected a string, found {_toml_type(value)}")
    try:
        path = (base / value).resolve(strict=True)
    except OSError as error:
        raise ConfigError(f"`{where}`: Failed to resolve path `{value}` (base: `{base}`): {error.strerror}") from None
    if path.is_dir():
        raise ConfigError(
            f"`{where}`: Expected a file path, but '{path}' is a directory. Please provide a path to a file."
        )
    if str(path) not in files:
        try:
            files[str(path)] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"`{where}`: cannot read `{path}` as UTF-8 text: {error}") from None
    return {NAME: str(path), DATA: files[str(path)]}


def _names(paths: list[str]) -> dict[str, str]:
    """Template names: each path less the longest folder that all of them share (config spec 2.2)."""
    if not paths:
        return {}
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return {path: path if common == os.path.sep else os.path.relpath(path, common) for path in paths}


def _rename(tree: Any, names: dict[str, str]) -> None:
    if isinstance(tree, dict):
        if set(tree) == {NAME, DATA}:
            tree[NAME] = names.get(tree[NAME], tree[NAME])
            return
        for value in tree.values():
            _rename(value, names)
