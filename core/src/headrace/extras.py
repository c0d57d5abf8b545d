"""``extra_body`` and ``extra_headers``: what a caller or a configuration writes into a provider's request by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from .errors import InvalidExtra

_INDEX = re.compile(r"0|[1-9][0-9]*")
# They say where a message ends and whom it is for; a caller who could set them could smuggle another request in.
_FRAMING = frozenset({"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"})
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class ExtraBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Put ``value`` at a JSON pointer of the request's body, or delete what is there. Names given restrict it."""

    pointer: str
    value: Any = UNSET
    delete: bool = False
    variant_name: str | None = None
    model_name: str | None = None
    provider_name: str | None = None


class ExtraHeader(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Send a header, or take back one that an earlier entry set. Names given restrict it."""

    name: str
    value: str | UnsetType = UNSET
    delete: bool = False
    variant_name: str | None = None
    model_name: str | None = None
    provider_name: str | None = None


class Extra(Struct, frozen=True, omit_defaults=True):
    """Entries in the order in which they apply; a later one wins."""

    body: tuple[ExtraBody, ...] = ()
    headers: tuple[ExtraHeader, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to apply."""
        return bool(self.body or self.headers)

    def __add__(self, other: Extra) -> Extra:
        """These entries, then the other ones."""
        if not other:
            return self
        return Extra(self.body + other.body, self.headers + other.headers) if self else other

    def of_variant(self, name: str) -> Extra:
        """The entries that are not for another variant."""
        if not self:
            return self
        return Extra(
            tuple(entry for entry in self.body if entry.variant_name in (None, name)),
            tuple(entry for entry in self.headers if entry.variant_name in (None, name)),
        )

    def of_provider(self, model: str, provider: str) -> Extra:
        """The entries that are not for another model, or another provider of this model."""
        return Extra(
            tuple(entry for entry in self.body if _concerns(entry, model, provider)),
            tuple(entry for entry in self.headers if _concerns(entry, model, provider)),
        )


def _concerns(entry: ExtraBody | ExtraHeader, model: str, provider: str) -> bool:
    return entry.model_name in (None, model) and entry.provider_name in (None, provider)


def apply_body(body: dict[str, Any], entries: Iterable[ExtraBody]) -> dict[str, Any]:
    """A copy of ``body`` with the entries written into it. Raise InvalidExtra (config spec 15)."""
    body = msgspec.to_builtins(body)  # a copy: parts of it, like a tool's schema, belong to the configuration
    for entry in entries:
        steps = _steps(entry.pointer)
        if entry.delete:
            _delete(body, steps, entry.pointer)
        else:
            _write(body, steps, entry.pointer, msgspec.to_builtins(entry.value))
    return body


def apply_headers(headers: Mapping[str, str], entries: Iterable[ExtraHeader]) -> dict[str, str]:
    """The headers with the entries over them. Deleting takes back what an entry set, never a header of ours.

    Names are compared, and returned, in lower case. Raise InvalidExtra for what cannot be a header.
    """
    extra: dict[str, str] = {}
    for entry in entries:
        name = entry.name.lower()
        if entry.delete:
            extra.pop(name, None)
            continue
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidExtra(f"Invalid header name `{entry.name}`")
        if name in _FRAMING:
            raise InvalidExtra(f"Header `{entry.name}` is the transport's own and cannot be set")
        value = entry.value if isinstance(entry.value, str) else ""
        if not value.isprintable() or not value.isascii():
            raise InvalidExtra(f"Invalid value of header `{entry.name}`: visible ASCII characters and spaces only")
        extra[name] = value
    return {**{name.lower(): value for name, value in headers.items()}, **extra} if extra else dict(headers)


def _steps(pointer: str) -> list[str]:
    if not pointer.startswith("/"):
        raise _wrong(pointer, "a pointer starts with `/`")
    if pointer.endswith("/"):
        raise _wrong(pointer, "a pointer does not end with `/`")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _write(body: Any, steps: list[str], pointer: str, value: Any) -> None:
    here = body
    for at, step in enumerate(steps):
        key = _key(here, step, pointer, is_last=at == len(steps) - 1)
        if at < len(steps) - 1:
            here = here.setdefault(key, {}) if isinstance(here, dict) else here[key]
        elif key is None:
            here.append(value)
        else:
            here[key] = value


def _key(here: Any, step: str, pointer: str, *, is_last: bool) -> Any:
    """What a step means inside this object or array; None means behind the array's end."""
    if isinstance(here, dict):
        if step not in here and _INDEX.fullmatch(step):
            raise _wrong(pointer, f"there is no array that `{step}` could be an index of")
        return step
    if not isinstance(here, list):
        raise _wrong(pointer, f"`{step}` cannot be looked up in a {type(here).__name__}")
    if step == "-":
        if not is_last:
            raise _wrong(pointer, "`-` appends to an array and must come last")
        return None
    if not _INDEX.fullmatch(step) or len(step) > 9 or int(step) >= len(here):
        raise _wrong(pointer, f"the array has no element `{step}` (it has {len(here)})")
    return int(step)


def _delete(body: Any, steps: list[str], pointer: str) -> None:
    here = body
    for at, step in enumerate(steps):
        is_last = at == len(steps) - 1
        if step == "-" and isinstance(here, list):
            raise _wrong(pointer, "`-` names no element, so there is nothing to delete")
        try:
            key = int(step[:9]) if isinstance(here, list) and _INDEX.fullmatch(step) else step
            if is_last:
                del here[key]
            else:
                here = here[key]
        except (KeyError, IndexError, TypeError):
            return  # nothing there, so nothing to take away


def _wrong(pointer: str, reason: str) -> InvalidExtra:
    return InvalidExtra(f"Error replacing extra body: invalid pointer `{pointer}`: {reason}")
