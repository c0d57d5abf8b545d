"""Files that templates include, found and read at load (config spec 11.4): afterwards nothing touches the disk."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from .templating import loads_of

log = logging.getLogger(__name__)

_WHERE = "gateway.template_filesystem_access.base_path"


def collect(base_path: str, templates: Mapping[str, str]) -> dict[str, str]:
    """Name and text of every file below ``base_path`` that these templates load, directly or not.

    A template among ``templates`` wins over a file of its name; a file that is not there is only warned of, as it
    may be meant to be absent. Raise ConfigError for a missing folder and for names known only when a template runs.
    """
    base = Path(base_path).resolve()
    if not base.is_dir():
        raise ConfigError(f"`{_WHERE}`: Failed to resolve path `{base_path}`: it is not a directory")
    found: dict[str, str] = {}
    absent: set[str] = set()
    dynamic: list[str] = []
    waiting = deque(templates.items())
    while waiting:
        template, source = waiting.popleft()
        for load in loads_of(source):
            if load.names is None:
                dynamic.append(f"`{template}` line {load.line}: {load.tag}")
            for name in load.names or ():
                if name in templates or name in found or name in absent:
                    continue
                text = _read(base, name, template)
                if text is None:
                    absent.add(name)
                else:
                    found[name] = text
                    waiting.append((name, text))
    if dynamic:
        raise ConfigError(
            f"{_WHERE}: headrace does not allow templates with dynamic paths to be loaded; "
            f"give each name as a text, a list of texts, or an `if` between texts: {'; '.join(dynamic)}"
        )
    return found


def _read(base: Path, name: str, template: str) -> str | None:
    """The text of a file, or None and a warning."""
    segments = name.split("/")
    if "\\" in name or "\0" in name or any(segment.startswith(".") for segment in segments):
        log.warning("template `%s`: `%s` is refused: no part may start with `.` or contain `\\`", template, name)
        return None
    path = base.joinpath(*filter(None, segments))
    try:
        if not path.resolve().is_relative_to(base):
            log.warning("template `%s`: `%s` is refused: it leads out of `%s`", template, name, base)
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        log.warning("template `%s`: `%s` cannot be read from `%s`: %s", template, name, base, error)
        return None
