"""What bodies of the Responses and Messages surfaces have beyond their vendors: ``tensorzero::`` fields and blocks."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct, field, structs

from ..errors import BadRequest
from ..exchange import InferenceRequest, InferenceResponse
from ..media import Detail, File
from ..tags import is_reserved
from ..types import InputBlock, RawText, Template, Text
from .blocks import check_base64, check_url
from .bodies import (
    CacheOptionsBody,
    ExtraBodyEntry,
    ExtraHeaderEntry,
    ParamsBody,
    ProviderToolBody,
    check_params,
    to_cache,
    to_extra,
    to_namespace,
    to_params,
    to_provider_tools,
)
from .openai_fields import FUNCTION, MODEL, parse, rest

log = logging.getLogger(__name__)

S = TypeVar("S", bound="Extensions")

_SHOWN = 20  # how many unknown fields a warning names: the caller decides how many there are


class Extensions(Struct, kw_only=True):
    """The fields at the top level of a body, with the meaning they have in ``POST /inference``."""

    variant_name: str | None = field(name="tensorzero::variant_name", default=None)
    episode_id: UUID | None = field(name="tensorzero::episode_id", default=None)
    dryrun: bool | None = field(name="tensorzero::dryrun", default=None)
    tags: dict[str, str] | None = field(name="tensorzero::tags", default=None)
    credentials: dict[str, str] | None = field(name="tensorzero::credentials", default=None)
    namespace: str | None = field(name="tensorzero::namespace", default=None)
    cache_options: CacheOptionsBody | None = field(name="tensorzero::cache_options", default=None)
    extra_body: list[ExtraBodyEntry] | None = field(name="tensorzero::extra_body", default=None)
    extra_headers: list[ExtraHeaderEntry] | None = field(name="tensorzero::extra_headers", default=None)
    provider_tools: list[ProviderToolBody] | None = field(name="tensorzero::provider_tools", default=None)
    include_raw_response: bool | None = field(name="tensorzero::include_raw_response", default=None)
    include_raw_usage: bool | None = field(name="tensorzero::include_raw_usage", default=None)
    include_original_response: bool | None = field(name="tensorzero::include_original_response", default=None)
    params: ParamsBody | None = field(name="tensorzero::params", default=None)


class TemplateBlock(Struct, tag="tensorzero::template"):
    """A call of a variant's template."""

    name: str
    arguments: dict[str, Any]


class RawTextBlock(Struct, tag="tensorzero::raw_text"):
    """Text that passes by templates and schemas."""

    value: str


def parsed(decoder: msgspec.json.Decoder[S], body_type: type[S], ignored: Collection[str], raw: bytes) -> S:
    """A checked body. Raise BadRequest; warn of fields that are neither known nor ``ignored`` on purpose.

    A field with our own prefix that means nothing here is refused: to ignore it would be to promise something.
    """
    body, names = parse(decoder, raw)
    known = {info.encode_name for info in structs.fields(body_type)}
    strange = sorted(name for name in names if name not in known and name not in ignored)
    for name in strange:
        if is_reserved(name):
            raise BadRequest(f"{name[:100]}: unknown field; this surface has no such extension")
    if strange:
        log.warning("ignored %d unknown fields: %s", len(strange), [name[:100] for name in strange[:_SHOWN]])
    return body


def target_of(model: str) -> tuple[str | None, str | None]:
    """The function's name or the model's; a name without a prefix is a model's. One of the two is None."""
    function_name = rest(model, FUNCTION)
    return (function_name, None) if function_name is not None else (None, rest(model, MODEL) or model)


def extended(request: InferenceRequest, body: Extensions) -> InferenceRequest:
    """The request with what the fields add to it; ``tensorzero::params`` win over the vendor's. Raise BadRequest."""
    if body.include_original_response:
        log.warning("`tensorzero::include_original_response` is deprecated: use `tensorzero::include_raw_response`")
    check_params(request.params, where="the request")
    where = "tensorzero::"
    tools = to_provider_tools(body.provider_tools, where=f"{where}provider_tools")
    extra = to_extra(
        body.extra_body,
        body.extra_headers,
        where_body=f"{where}extra_body",
        where_headers=f"{where}extra_headers",
    )
    return structs.replace(
        request,
        variant_name=body.variant_name,
        episode_id=body.episode_id,
        dryrun=bool(body.dryrun),
        tags=body.tags or {},
        credentials=body.credentials or {},
        namespace=to_namespace(body.namespace),
        cache=to_cache(body.cache_options),
        extra=request.extra + extra,
        provider_tools=request.provider_tools + tools,
        include_raw_response=bool(body.include_raw_response),
        include_raw_usage=bool(body.include_raw_usage),
        include_original_response=bool(body.include_original_response),
        params=to_params(body.params, where=f"{where}params.chat_completion").over(request.params),
    )


def additions(response: InferenceResponse) -> dict[str, Any]:
    """What an answer has beyond the vendor's: its ids, and raw data where it was asked for."""
    shown: dict[str, Any] = {"inference_id": response.inference_id, "episode_id": response.episode_id}
    for name in ("raw_usage", "raw_response", "original_response"):
        if (value := getattr(response, name)) is not None:
            shown[f"tensorzero_{name}"] = value
    return shown


def model_of(function_name: str | None, variant_name: str) -> str:
    """What answered, as chat completions name it (http-api 16.4)."""
    if function_name is None:
        return f"tensorzero::model_name::{variant_name}"
    return f"tensorzero::function_name::{function_name}::variant_name::{variant_name}"


def convert(value: Any, type_: Any, where: str) -> Any:
    """A part of a document as ``type_``. Raise BadRequest that says where in the whole document it is wrong."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise BadRequest(f"{where}{path.rstrip('`')}: {reason}") from None


def own_block(block: TemplateBlock | RawTextBlock) -> InputBlock:
    """The neutral form of a block of ours."""
    return Template(block.name, block.arguments) if isinstance(block, TemplateBlock) else RawText(block.value)


def system_of(blocks: Collection[InputBlock]) -> str | dict[str, Any] | None:
    """One system prompt of several parts, a line each, or the arguments of its template. Raise BadRequest."""
    texts = []
    for block in blocks:
        if isinstance(block, Template):
            if len(blocks) > 1:
                raise BadRequest("a system template cannot be combined with other system content")
            return block.arguments
        if not isinstance(block, (Text, RawText)):
            raise BadRequest("system content can only be text, or one template")
        texts.append(block.text if isinstance(block, Text) else block.value)
    return "\n".join(texts) if texts else None


def file_of(url: str, where: str, *, detail: Detail | None = None, filename: str | None = None) -> File:
    """A file by an http(s) URL or a data URL. Raise BadRequest."""
    if not url.startswith("data:"):
        check_url(url, where)
        if not url.startswith(("http://", "https://")):
            raise BadRequest(f"{where}: only http, https and data URLs can be read")
        return File(source_url=url, detail=detail, filename=filename)
    head, comma, data = url.removeprefix("data:").partition(",")
    mime_type, *attributes = head.split(";")
    if not comma or not mime_type or "base64" not in attributes:
        raise BadRequest(f"{where}: not a data URL of the form `data:MIME/TYPE;base64,...`")
    check_base64(data, where)
    return File(mime_type=mime_type, data=data, detail=detail, filename=filename)
