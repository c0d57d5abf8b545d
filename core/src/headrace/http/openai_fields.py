"""What OpenAI's routes share beyond OpenAI: ``tensorzero::`` names, which can be spelled ``headrace::`` as well."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from ..errors import BadRequest
from ..tags import ALIAS, canonical
from .errors import decode

T = TypeVar("T")

U32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
FUNCTION = "tensorzero::function_name::"
MODEL = "tensorzero::model_name::"
EMBEDDING_MODEL = "tensorzero::embedding_model_name::"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse(decoder: msgspec.json.Decoder[T], raw: bytes) -> tuple[T, Set[str]]:
    """A checked Struct, and the names of all fields that were sent. Raise BadRequest."""
    sent = decode(_fields, raw)
    fields = canonical_keys(sent)
    return decode(decoder, raw if fields is sent else msgspec.json.encode(fields)), fields.keys()


def canonical_keys(document: Mapping[str, T], where: str = "") -> Mapping[str, T]:
    """The object with each ``headrace::x`` called ``tensorzero::x``: that very object if there are none.

    Raise BadRequest, with ``where`` before the key, if both spellings are there.
    """
    for key in document:
        if key.startswith(ALIAS):
            break
    else:
        return document
    renamed: dict[str, T] = {}
    for key, value in document.items():
        name = canonical(key)
        if name in renamed:
            raise BadRequest(f"{where}{name}: given twice, once with the prefix `{ALIAS}`; keep one of the two")
        renamed[name] = value
    return renamed


def rest(name: str, prefix: str) -> str | None:
    """What follows the prefix, in either spelling; None if the name has another one, or ends with it."""
    if not name.startswith(prefix):
        name = canonical(name)
    return name.removeprefix(prefix) or None if name.startswith(prefix) else None
