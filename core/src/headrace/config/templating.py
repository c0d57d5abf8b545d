"""Which other templates a MiniJinja template loads: a small scanner, as the engine's binding offers no syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_OPENS = re.compile(r"\{[{%#]")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TOKEN = re.compile(
    r"""\s+|(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<word>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<sign>.)""",
    re.DOTALL,
)
_OPENING, _CLOSING = "([{", ")]}"
_LOADS = ("include", "import", "from", "extends")


class Load(NamedTuple):
    """One tag that loads templates: the names it may load, None if they are not known before it runs."""

    line: int
    tag: str
    names: tuple[str, ...] | None


class _NotLiteral(Exception):
    """The name is computed."""


def loads_of(source: str) -> Iterator[Load]:
    """Every include, import, from and extends of a template. A tag that does not end is left to the compiler."""
    at = 0
    while (opening := _OPENS.search(source, at)) is not None:
        at = opening.end()
        if opening[0] == "{#":
            end = source.find("#}", at)
            if end < 0:
                return
            at = end + 2
            continue
        tokens, at = _tokens(source, at, closing="%}" if opening[0] == "{%" else "}}")
        if opening[0] == "{{" or not tokens:
            continue
        if tokens[0] == "raw":
            raw = _END_RAW.search(source, at)
            if raw is None:
                return
            at = raw.end()
        elif tokens[0] in _LOADS:
            yield Load(source.count("\n", 0, opening.start()) + 1, tokens[0], _names(tokens[1:]))


def _tokens(source: str, at: int, *, closing: str) -> tuple[list[str], int]:
    """The words, strings and signs up to the end of a tag, and where it ends. Brackets may hold the closing sign."""
    tokens: list[str] = []
    depth = 0
    if source[at : at + 1] in ("-", "+"):  # whitespace control
        at += 1
    while at < len(source):
        if depth == 0 and source.startswith(closing, at):
            if tokens[-1:] in (["-"], ["+"]):
                tokens.pop()
            return tokens, at + 2
        token = _TOKEN.match(source, at)
        if token is None:
            break
        at = token.end()
        text = token[0]
        if text.isspace():
            continue
        depth += (text in _OPENING) - (text in _CLOSING)
        tokens.append(text)
    return [], len(source)


def _names(tokens: list[str]) -> tuple[str, ...] | None:
    try:
        names, rest = _expression(tokens)
    except _NotLiteral:
        return None
    # After the name: `ignore missing`, `as x`, `import a, b`, `with context`. An operator would compute on.
    return names if not rest or rest[0] in ("ignore", "as", "import", "with", "without") else None


def _expression(tokens: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """``A`` or ``A if ... else B``, each a literal; the names, and what follows. Raise _NotLiteral."""
    names, rest = _literal(tokens)
    if rest[:1] != ["if"]:
        return names, rest
    after = _after_condition(rest[1:])
    if after[:1] != ["else"]:
        return names, after
    others, rest = _expression(after[1:])
    return names + others, rest


def _literal(tokens: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """A string, a list of literals, or an expression in parentheses. Raise _NotLiteral."""
    if not tokens:
        raise _NotLiteral
    first, *rest = tokens
    if first[0] in "'\"":
        return (first[1:-1],), rest
    if first not in ("[", "("):
        raise _NotLiteral
    names: tuple[str, ...] = ()
    end = _CLOSING[_OPENING.index(first)]
    while rest and rest[0] != end:
        found, rest = _expression(rest)
        names += found
        if rest[:1] == [","]:
            rest = rest[1:]
        elif rest[:1] != [end]:
            raise _NotLiteral
    if not rest:
        raise _NotLiteral
    return names, rest[1:]


def _after_condition(tokens: list[str]) -> list[str]:
    """From the ``else`` that belongs to a condition on; or, without one, from what ends the expression."""
    depth = pending = 0
    for index, token in enumerate(tokens):
        if depth == 0 and (token in ("ignore", "as", "import", ",") or token in _CLOSING):
            return tokens[index:]
        if depth == 0 and token == "else":
            if not pending:
                return tokens[index:]
            pending -= 1
        if depth == 0 and token == "if":
            pending += 1
        depth += (token in _OPENING) - (token in _CLOSING)
    return []
