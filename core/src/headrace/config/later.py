"""Features that a configuration switches on and this version does not have: refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from .tables import Tables

_NOT_YET = "is not available in this version"


def unavailable(tables: Tables) -> list[str]:
    """A line, with its TOML key, for each feature that is switched on but not offered; what is off is no trouble."""
    return [*_experiments(tables)]


def _experiments(tables: Tables) -> Iterator[str]:
    for name, function in tables.functions.items():
        chosen = function.experimentation
        if chosen is None:
            continue
        tables_by_key = {"": chosen, **{f".namespaces.{key}": table for key, table in chosen.namespaces.items()}}
        for at, each in tables_by_key.items():
            if each.type in ("adaptive", "track_and_stop"):
                yield (
                    f'functions.{name}.experimentation{at}.type: "{each.type}" {_NOT_YET}; use "static" with weights'
                )
