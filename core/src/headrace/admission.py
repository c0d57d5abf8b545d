"""Everything about an inference that can be checked before any variant runs (http-api 5, in its order)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from msgspec import structs

from .cache import options_of
from .contracts import Clock, Templated, Variant
from .errors import BadRequest, ConfigError, HeadraceError, NotFound
from .exchange import InferenceRequest
from .extras import Extra, ExtraBody, ExtraHeader
from .functions import Function, requested_schema
from .ids import check_episode_id, new_id
from .inference import INLINE_VARIANT, Inference
from .records import WorkflowEpisode
from .tags import API_KEY, accepted, canonical, is_reserved
from .telemetry import Telemetry
from .tools import check_json_tool, configure
from .types import Tool

log = logging.getLogger(__name__)

DEFAULT_FUNCTION = "tensorzero::default"


class Admission:
    """Turns a request into an ``Inference``, or says what is wrong with it.

    ``direct(model)`` gives the function that runs a model by its own name, ``inline(function, table, namespace)``
    the variant of a table that came with a request; both raise ConfigError. ``knows(model, provider)`` tells whether
    these exist.
    """

    def __init__(
        self,
        *,
        functions: Mapping[str, Function],
        direct: Callable[[str], Function],
        inline: Callable[[Function, Mapping[str, Any], str | None], Variant],
        knows: Callable[[str, str | None], bool],
        tools: Mapping[str, Tool],
        snapshot_hash: str,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._functions = functions
        self._direct = direct
        self._inline = inline
        self._knows = knows
        self._tools = tools
        self._snapshot_hash = snapshot_hash
        self._telemetry = telemetry
        self._clock = clock

    def admit(self, request: InferenceRequest, workflow: WorkflowEpisode | None = None) -> Inference:
        """``workflow`` is the episode of a workflow evaluation that the request belongs to: it lends tags and a pin.

        Raise BadRequest, NotFound, or a HeadraceError for what the configuration lacks.
        """
        tags = _tags(request)
        if workflow is not None:
            tags, request = {**workflow.tags, **tags}, _pinned(request, workflow)
        episode_id = workflow.id if workflow is not None else self._episode(request.episode_id)
        function = self._function(request)
        inline = self._inline_variant(request, function)
        if not function.variants and inline is None:
            raise HeadraceError(f"Function {function.name} has no variants")
        check_json_tool(request, function.spec)
        function.check(request.input, () if inline is None else _templates(inline))
        self._check_filters(request.extra, function)
        tools = configure(request, function.spec, self._tools)
        if request.variant_name is not None:
            function.pinned(request.variant_name)
            tags["tensorzero::variant_pinned"] = request.variant_name
        if (chosen := request.variant_name or request.model_name) is not None:
            function.check_namespace(chosen, request.namespace)
        if not request.dryrun:
            self._telemetry.inference(function.name, request.model_name)
        return Inference(
            request=request,
            function=function,
            inline=inline,
            episode_id=episode_id,
            tools=tools,
            output_schema=requested_schema(request, function),
            cache=options_of(request.cache, dryrun=request.dryrun),
            tags=tags,
            snapshot_hash=self._snapshot_hash,
            clock=self._clock,
        )

    def _episode(self, given: UUID | None) -> UUID:
        if given is None:
            return new_id()
        check_episode_id(given, self._clock.time())
        return given

    def _function(self, request: InferenceRequest) -> Function:
        if (request.function_name is None) == (request.model_name is None):
            what = "either" if request.function_name is None else "only one of"
            raise BadRequest(f"Invalid inference target: provide {what} `function_name` or `model_name`")
        if request.model_name is not None:
            if request.variant_name is not None:
                raise BadRequest("Invalid inference target: `variant_name` cannot be combined with `model_name`")
            try:
                return self._direct(request.model_name)
            except ConfigError as error:
                raise BadRequest(f"Invalid inference target: {error}") from None
        name = canonical(request.function_name or "")
        if name == DEFAULT_FUNCTION:
            raise HeadraceError(f"Function {name} has no variants; call a model by `model_name`")
        try:
            return self._functions[name]
        except KeyError:
            raise NotFound(f"Unknown function: {name}") from None

    def _inline_variant(self, request: InferenceRequest, function: Function) -> Variant | None:
        if request.inline_variant is None:
            return None
        if request.model_name is not None:
            raise BadRequest("Invalid inference target: an inline variant needs a `function_name`")
        if request.variant_name is not None:
            raise BadRequest("`internal_dynamic_variant_config` cannot be combined with `variant_name`")
        if not request.dryrun:
            raise BadRequest("`internal_dynamic_variant_config` needs `dryrun: true`")
        try:
            return self._inline(function, request.inline_variant, request.namespace)
        except ConfigError as error:
            raise BadRequest(f"internal_dynamic_variant_config: {error}") from None

    def _check_filters(self, extra: Extra, function: Function) -> None:
        """What ``extra_body`` and ``extra_headers`` are restricted to must exist (http-api 11)."""
        if not extra:
            return
        entries: list[ExtraBody | ExtraHeader] = [*extra.body, *extra.headers]
        for entry in entries:
            if entry.variant_name is not None and entry.variant_name not in (*function.variants, INLINE_VARIANT):
                raise NotFound(f"Unknown variant: {entry.variant_name}")
            if entry.model_name is not None and not self._knows(entry.model_name, None):
                raise BadRequest(f"Invalid model provider filter: model `{entry.model_name}` not found")
            if (
                entry.model_name is not None
                and entry.provider_name is not None
                and not self._knows(entry.model_name, entry.provider_name)
            ):
                raise BadRequest(
                    f"Invalid model provider filter: provider `{entry.provider_name}` not found in model "
                    f"`{entry.model_name}`"
                )


def _pinned(request: InferenceRequest, workflow: WorkflowEpisode) -> InferenceRequest:
    """With the run's variant of the function, unless the request says itself which one."""
    pin = workflow.variant_pins.get(canonical(request.function_name or ""))
    if pin is None or request.inline_variant is not None:
        return request
    if request.variant_name is not None:
        log.warning("the request's variant %s goes before the run's pin %s", request.variant_name, pin)
        return request
    return structs.replace(request, variant_name=pin)


def _templates(variant: object) -> Collection[str]:
    return variant.templates if isinstance(variant, Templated) else ()


def _tags(request: InferenceRequest) -> dict[str, str]:
    tags = accepted(request.tags, internal=request.internal)
    if request.namespace is not None:
        if not request.namespace or is_reserved(request.namespace):
            raise BadRequest("`namespace` must not be empty, nor start with `tensorzero::`")
        tags["tensorzero::namespace"] = request.namespace
    if request.api_key_public_id is not None:
        tags[API_KEY] = request.api_key_public_id
    return tags
