"""Several TOML files into one tree: glob, parse, merge, and every path key replaced by its file's text."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import ConfigError
from .globbing import find
from .problems import Problems

__all__ = ["DATA", "NAME", "PATH_KEYS", "find", "read", "templates"]

NAME, DATA = "__tensorzero_remapped_path", "__data"

_SLOTS = ("system_template", "user_template", "assistant_template", "system_instructions")
_WRAPPERS = ("input_wrappers.system", "input_wrappers.user", "input_wrappers.assistant")
_TEMPLATES = (*_SLOTS, *_WRAPPERS, "templates.*.path")


def _keys(*patterns: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(pattern.split(".")) for pattern in patterns)


_TEMPLATE_KEYS = _keys(
    *(
        f"functions.*.variants.*.{part}{key}"
        for part in ("", "evaluator.", "fuser.")
        for key in _TEMPLATES
        if key != "system_instructions"  # taken as they are, never rendered
    )
)

# Keys that name files (config spec 2.1). Any other string is a string.
PATH_KEYS = _keys(
    *(f"functions.*.{role}_schema" for role in ("system", "user", "assistant", "output")),
    "functions.*.schemas.*.path",
    *(f"functions.*.variants.*.{part}{key}" for part in ("", "evaluator.", "fuser.") for key in _TEMPLATES),
    *(
        f"{table}.*.evaluators.*.variants.*.{part}system_instructions"
        for table in ("evaluations", "functions")
        for part in ("", "evaluator.", "fuser.")
    ),
    "evaluations.*.evaluators.*.typescript_file",
    "functions.*.evaluators.*.typescript_file",
    "tools.*.parameters",
)
# A key that names a folder.
_FOLDER_KEY = ("gateway", "template_filesystem_access", "base_path")


def read(paths: list[Path], problems: Problems) -> dict[str, Any]:
    """The merged tree, every path key replaced by its file. Paths are relative to the TOML file they stand in.

    Files that are not TOML are raised at once, all of them; whatever else is wrong is noted in ``problems``.
    """
    trees = [(path, tree) for path in paths if (tree := _parse(path, problems)) is not None]
    problems.check()
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], Path] = {}
    files: dict[str, str] = {}
    for path, tree in trees:
        for pattern in PATH_KEYS:
            _inline(tree, pattern, (), path.parent, files, problems)
        _inline(tree, _FOLDER_KEY, (), path.parent, None, problems)
        _merge(merged, tree, (), path, origins, problems)
    _rename(merged, _names(list(files)))
    return merged


def _parse(path: Path, problems: Problems) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.add(str(path), f"not valid TOML: {error}")
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
    return None


def _merge(
    into: dict[str, Any],
    new: dict[str, Any],
    above: tuple[str, ...],
    path: Path,
    origins: dict[tuple[str, ...], Path],
    problems: Problems,
) -> None:
    for key, value in new.items():
        at = (*above, key)
        old = into.get(key)
        if key not in into:
            into[key] = value
            origins.update(dict.fromkeys(_paths(value, at), path))
        elif _is_table(old) and _is_table(value):
            _merge(old, value, at, path, origins, problems)
        elif _is_table(old):
            problems.add(
                f"`{'.'.join(at)}`",
                f"Cannot merge `{_toml_type(value)}` from file `{path}` into a table from file `{origins[at]}`",
            )
        else:
            problems.add(
                f"`{'.'.join(at)}`",
                f"Found duplicate values in globbed TOML config files `{origins[at]}` and `{path}`",
            )


def _is_table(value: Any) -> TypeGuard[dict[str, Any]]:
    """A table of the user's, not a file that has taken the place of its path."""
    return isinstance(value, dict) and DATA not in value


def _paths(value: Any, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every key path below a value, the value's own first."""
    yield at
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _paths(below, (*at, key))


def _toml_type(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "float", list: "array", dict: "table"}
    return names.get(type(value), "datetime")


def _inline(
    tree: Any,
    pattern: tuple[str, ...],
    at: tuple[str, ...],
    base: Path,
    files: dict[str, str] | None,
    problems: Problems,
) -> None:
    """Put a file, read once into ``files``, in the place of its path; a folder's whole path where that is None."""
    if not isinstance(tree, dict):
        return
    head, *rest = pattern
    keys = list(tree) if head == "*" else [head] if head in tree else []
    for key in keys:
        if rest:
            _inline(tree[key], tuple(rest), (*at, key), base, files, problems)
            continue
        try:
            tree[key] = _folder(tree[key], base) if files is None else _file(tree[key], base, files)
        except ConfigError as error:
            problems.add(f"`{'.'.join((*at, key))}`", str(error))
            # Something that fits, so that the rest can be checked as well.
            tree[key] = "" if files is None else {NAME: "", DATA: ""}


def _file(value: Any, base: Path, files: dict[str, str]) -> dict[str, str]:
    if isinstance(value, dict) and set(value) == {NAME, DATA}:
        return value
    path = _resolved(value, base)
    if path.is_dir():
        raise ConfigError(f"Expected a file path, but '{path}' is a directory. Please provide a path to a file.")
    if str(path) not in files:
        try:
            files[str(path)] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read `{path}` as UTF-8 text: {error}") from None
    return {NAME: str(path), DATA: files[str(path)]}


def _folder(value: Any, base: Path) -> str:
    path = _resolved(value, base)
    if not path.is_dir():
        raise ConfigError(f"Expected a directory, but '{path}' is a file")
    return str(path)


def _resolved(value: Any, base: Path) -> Path:
    if not isinstance(value, str):
        raise ConfigError(f"Expected a string, found {_toml_type(value)}")
    try:
        return (base / value).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL; RuntimeError: links in a circle
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"Failed to resolve path `{value}` (base: `{base}`): {reason}") from None


def templates(tree: dict[str, Any]) -> dict[str, str]:
    """Name and text of the files in a merged tree that are templates."""
    found = [file for pattern in _TEMPLATE_KEYS for file in _at(tree, pattern) if isinstance(file, dict)]
    return {str(file[NAME]): str(file[DATA]) for file in found if set(file) == {NAME, DATA}}


def _at(tree: Any, pattern: tuple[str, ...]) -> Iterator[Any]:
    """Whatever stands at a path key."""
    if not pattern:
        yield tree
    elif isinstance(tree, dict):
        for key in list(tree) if pattern[0] == "*" else [pattern[0]]:
            if key in tree:
                yield from _at(tree[key], pattern[1:])


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
