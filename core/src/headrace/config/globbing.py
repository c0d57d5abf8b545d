"""Which files a glob names: ``*`` stays in a folder, ``**`` descends, ``?``, ``[...]``, ``{a,b}`` (config spec 2)."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from wcmatch import glob

from ..errors import ConfigError

log = logging.getLogger(__name__)

_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB
_META = re.compile(r"[*?\[{]")


def find(pattern: str) -> list[Path]:
    """The files that a glob names, sorted by path. Raise ConfigError if there is none."""
    if "*" in pattern and "**" not in pattern:
        log.warning("The glob `%s` does not descend into directories; use `**` if it should", pattern)
    # A literal path may hold metacharacters, and may be a link.
    found = [pattern] if os.path.isfile(pattern) else sorted(set(_matching(re.sub("/+", "/", pattern))))
    if not found:
        raise ConfigError(
            f"Error using glob: `{pattern}`: No files matched the glob pattern. "
            "Ensure that the path exists, and contains at least one file."
        )
    return [Path(path) for path in found]


def _matching(pattern: str) -> Iterator[str]:
    """Walk from the leading folders that are literal; links are not followed."""
    meta = _META.search(pattern)
    if meta is None:
        return
    base, slash, rest = pattern[: meta.start()].rpartition("/")
    rest = pattern[len(base) + len(slash) :]
    # Without `**` nothing can match further down than the glob has folders.
    deepest = None if "**" in rest else rest.count("/")
    for folder, folders, files in os.walk(base + slash or ".", onerror=_skip):
        depth = 0 if folder in (base + slash, ".") else os.path.relpath(folder, base + slash or ".").count("/") + 1
        if deepest is not None and depth >= deepest:
            folders.clear()
        for name in files:
            path = os.path.join(folder, name)
            path = path if base + slash else path.removeprefix("./")
            if glob.globmatch(path, pattern, flags=_FLAGS) and _is_regular(path):
                yield path


def _skip(error: OSError) -> None:
    log.warning("`%s` is left out: %s", error.filename, error.strerror)


def _is_regular(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        _skip(error)
        return False
    if stat.S_ISLNK(mode):
        log.warning("`%s` is left out: links are not followed", path)
    return stat.S_ISREG(mode)
