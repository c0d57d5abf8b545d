"""MiniJinja templates, compiled once. The only module that imports minijinja."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import minijinja

from .errors import TemplateError

# About 50 ms of rendering: far above any prompt, far below what a loop in a hostile template wants.
FUEL = 500_000


class Prompts:
    """The templates of one gateway by name. Undefined variables raise; nothing is read from disk."""

    def __init__(self) -> None:
        self._environment = minijinja.Environment(
            undefined_behavior="strict", pycompat=False, fuel=FUEL, debug=False, loader=None
        )
        self._sources: dict[str, str] = {}

    @property
    def sources(self) -> Mapping[str, str]:
        """Template text by name, for the configuration snapshot."""
        return self._sources

    def add(self, name: str, source: str) -> None:
        """Compile; adding the same text under the same name again is nothing. Raise TemplateError."""
        known = self._sources.get(name)
        if known == source:
            return
        if known is not None:
            raise TemplateError(f"two different templates are named {name!r}")
        try:
            self._environment.add_template(name, source)
        except minijinja.TemplateError as error:
            raise TemplateError(f"Error compiling template {name}: {_first_line(error)}") from None
        self._sources[name] = source

    def variables(self, name: str) -> set[str]:
        """The variables that the template needs from outside."""
        return set(self._environment.undeclared_variables_in_template(name))

    def render(self, name: str, arguments: Mapping[str, Any] | str | None = None) -> str:
        """Render with the arguments as root context (text or None: no variables). Raise TemplateError."""
        context = arguments if isinstance(arguments, Mapping) else {}
        try:
            return self._environment.render_template(name, **context)
        except (minijinja.TemplateError, TypeError) as error:
            raise TemplateError(
                f"Error rendering template {name}: Could not render template: {_first_line(error)}"
            ) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
