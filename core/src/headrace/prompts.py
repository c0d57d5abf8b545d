"""MiniJinja templates, compiled once. The only module that imports minijinja."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import minijinja

from .errors import TemplateError

# About 50 ms of rendering: far above any prompt, far below what a loop in a hostile template wants.
FUEL = 500_000

_HTML_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"})


# What the binding has beyond the engine's own filters and functions. A prompt must not come to need it.
_FOREIGN_FILTERS = ("filesizeformat", "pluralize", "striptags", "truncate", "urlencode", "wordwrap")
_FOREIGN_GLOBALS = ("cycler", "joiner")


class Engine(Protocol):
    """Compiles and renders one set of templates, which find each other by name. Methods raise TemplateError."""

    def compile(self, templates: Mapping[str, str]) -> None:
        """Take templates, each in place of one of its name."""

    def variables(self, name: str) -> set[str]:
        """The variables that the template needs from outside."""

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        """Render with these variables."""


class Prompts:
    """The templates of one gateway by name. Undefined variables raise; nothing is read from disk.

    ``includes`` are texts that templates may include, import or extend by these names, beside each other; a template
    that is added under such a name takes its place. What is in neither is missing when a template asks for it.
    """

    def __init__(self, includes: Mapping[str, str] = {}, *, engine: Engine | None = None) -> None:
        """``engine`` renders, or else this process. Raise TemplateError for an include that is no template."""
        self._engine = engine or MiniJinja()
        self._includes = dict(includes)
        self._sources: dict[str, str] = {}
        if self._includes:
            self._engine.compile(self._includes)

    @property
    def sources(self) -> Mapping[str, str]:
        """Template text by name, includes too, for the configuration snapshot."""
        return {**self._includes, **self._sources}

    def add(self, name: str, source: str) -> None:
        """Compile; adding the same text under the same name again is nothing. Raise TemplateError."""
        known = self._sources.get(name)
        if known == source:
            return
        if known is not None:
            raise TemplateError(f"two different templates are named {name!r}")
        self._engine.compile({name: source})
        self._sources[name] = source

    def variables(self, name: str) -> set[str]:
        """The variables that the template needs from outside."""
        return self._engine.variables(name)

    def render(self, name: str, arguments: Mapping[str, Any] | str | None = None) -> str:
        """Render with the arguments as root context (text or None: no variables). Raise TemplateError."""
        return self._engine.render(name, arguments if isinstance(arguments, Mapping) else {})


class MiniJinja:
    """The engine in this process: bounded in time, not in memory."""

    def __init__(self) -> None:
        self._environment = minijinja.Environment(
            undefined_behavior="strict",
            pycompat=False,
            fuel=FUEL,
            debug=False,
            loader=None,
            finalizer=_printed,
            filters={"tojson": _to_json},
        )
        for name in _FOREIGN_FILTERS:
            self._environment.remove_filter(name)
        for name in _FOREIGN_GLOBALS:
            self._environment.remove_global(name)

    def compile(self, templates: Mapping[str, str]) -> None:
        """Take templates, each in place of one of its name. Raise TemplateError for the first that is none."""
        for name, source in templates.items():
            try:
                self._environment.add_template(name, source)
            except Exception as error:  # the engine's own, and the binding's for text without UTF-8
                raise TemplateError(f"Error compiling template {name}: {_first_line(error)}") from None

    def variables(self, name: str) -> set[str]:
        """The variables that the template needs from outside. Raise TemplateError where there is no such template."""
        try:
            undeclared = self._environment.undeclared_variables_in_template(name)
        except Exception as error:
            raise TemplateError(f"Error reading template {name}: {_first_line(error)}") from None
        # The engine counts its own functions (`range`, `namespace`) among them.
        return {variable for variable in undeclared if not self._environment.eval_expr(f"{variable} is defined")}

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        """Render with these variables. Raise TemplateError."""
        try:
            return self._environment.render_template(name, **{key: _seen(value) for key, value in context.items()})
        except Exception as error:  # the engine's own, and what Python objects raise at a template's touch
            raise TemplateError(
                f"Error rendering template {name}: Could not render template: {_first_line(error)}"
            ) from None


@minijinja.pass_state
def _printed(state: Any, value: Any) -> Any:
    """MiniJinja 3 writes booleans as Python does; prompts that people bring expect 2.19's words.

    Not so for none, which 2.19 prints as `none` and we as `None`: the binding shows it and the silent undefined of
    `{{ "," if not loop.last }}` alike.
    """
    if isinstance(value, bool) and state.auto_escape != "json":
        return "true" if value else "false"
    return NotImplemented


def _to_json(value: Any, indent: int | None = None) -> Any:
    """Compact unless indented, and safe inside HTML, whatever the template's escaping."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, default=_plain)
    return minijinja.safe(text.translate(_HTML_SAFE))


def _plain(seen: Any) -> Any:
    if isinstance(seen, _Seen):
        return seen._value
    raise TypeError(f"{type(seen).__name__} has no JSON form")


class _Seen:
    """An object or array as a template may see it: the values, and nothing of Python.

    The binding would lend a dict's or list's methods to templates: `clear()` would change the input that is recorded
    afterwards, and a missing `order.items` would put the address of a method into a prompt.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getitem__(self, key: Any) -> Any:
        return _seen(self._value[key])

    def __iter__(self) -> Iterator[Any]:
        return map(_seen, self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == (other._value if isinstance(other, _Seen) else other))

    __hash__ = None  # type: ignore[assignment]  # like what it shows

    def __str__(self) -> str:
        return _shown(self._value)


class _Object(_Seen):
    __slots__ = ()
    items = None  # by this name the binding knows a mapping


@Sequence.register
class _Array(_Seen):
    __slots__ = ()


def _seen(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object(value)
    return _Array(value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    """A value inside a printed object or array, in MiniJinja's words rather than Python's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
