"""Entry points to a Registry, one plugin at a time in a guard. The only module that calls a hook."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias

import pluggy
from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement

from . import __version__, hookspecs
from .contracts import Factory, Weights
from .errors import ConfigError, PluginError, SkipPlugin

log = logging.getLogger(__name__)

GROUP = "headrace"

Kind: TypeAlias = Literal[
    "provider",
    "store",
    "variant",
    "optimizer",
    "evaluator",
    "transport",
    "cache",
    "buckets",
    "object_store",
    "tracer",
    "prices",
    "weights",
]
State: TypeAlias = Literal["loaded", "skipped", "failed", "incompatible"]

HOOKS: Mapping[Kind, str] = {
    "provider": "headrace_providers",
    "store": "headrace_stores",
    "variant": "headrace_variants",
    "optimizer": "headrace_optimizers",
    "evaluator": "headrace_evaluators",
    "transport": "headrace_transports",
    "cache": "headrace_caches",
    "buckets": "headrace_buckets",
    "object_store": "headrace_object_stores",
    "tracer": "headrace_tracers",
    "prices": "headrace_prices",
    "weights": "headrace_weights",
}


class Plugin(Struct, frozen=True, kw_only=True):
    """How one entry point ended. ``reason`` says why it is not loaded; ``detail`` is the traceback of a failure."""

    name: str
    distribution: str
    version: str
    state: State
    types: list[tuple[Kind, str]] = []
    summary: str = ""
    reason: str = ""
    detail: str = ""


class Registry:
    """Every type that loaded plugins offer, and how each plugin ended."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self._offers: dict[tuple[Kind, str], Any] = {}

    def add(self, plugin: Plugin, offers: Iterable[tuple[Kind, Factory[Any] | Weights]]) -> None:
        """Note a plugin and what it offers."""
        self.plugins.append(plugin)
        for kind, offer in offers:
            self._offers.setdefault((kind, offer.name), offer)

    def types(self, kind: Kind) -> list[str]:
        """The installed types of a kind, sorted."""
        return sorted(name for of, name in self._offers if of == kind)

    def get(self, kind: Kind, name: str, *, where: str) -> Any:
        """The factory (or weights) of a type. ``where`` is the TOML key to name in the ConfigError."""
        try:
            return self._offers[kind, name]
        except KeyError:
            known = ", ".join(self.types(kind)) or "none"
            raise ConfigError(
                f'{where} = "{name}" is not an installed type ({kind}s: {known}){self._hint(name)}'
            ) from None

    def check(self, *, strict: bool = False) -> None:
        """Raise PluginError on a type offered twice; with ``strict`` also on a plugin that failed, else log it."""
        problems = duplicates(self.plugins)
        broken = [
            f"{plugin.distribution} {plugin.state}: {plugin.reason}"
            for plugin in self.plugins
            if plugin.state in ("failed", "incompatible")
        ]
        if strict:
            problems += [f"--strict-plugins: {line}" for line in broken]
        else:
            for line in broken:
                log.warning("plugin %s", line)
        if problems:
            raise PluginError("\n".join(problems))

    def _hint(self, name: str) -> str:
        """A plugin of that name that is there but not loaded is most likely what the configuration means."""
        for plugin in self.plugins:
            if plugin.state != "loaded" and _same(plugin.name) == _same(name):
                return f"; {plugin.distribution} is installed but {plugin.state}: {plugin.reason}"
        return ""


def duplicates(plugins: Iterable[Plugin]) -> list[str]:
    """One line for every type that is offered more than once, naming who offers it."""
    offered: dict[tuple[Kind, str], list[str]] = {}
    for plugin in plugins:
        for offer in plugin.types:
            offered.setdefault(offer, []).append(plugin.distribution)
    return [
        f'{kind} type "{name}" is offered by {" and ".join(by)}: uninstall one of them'
        for (kind, name), by in sorted(offered.items())
        if len(by) > 1
    ]


def installed() -> list[EntryPoint]:
    """The entry points of every installed plugin, in a stable order. Imports nothing."""
    return sorted(entry_points(group=GROUP), key=lambda point: (_distribution(point), point.name))


def switched_off(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The plugins that ``HEADRACE_DISABLE_PLUGINS=a,b`` names, by entry point."""
    return [name.strip() for name in environ.get("HEADRACE_DISABLE_PLUGINS", "").split(",") if name.strip()]


def load(points: Sequence[EntryPoint] | None = None, *, disabled: Iterable[str] | None = None) -> Registry:
    """Load every plugin in turn. Never raises for a plugin's sake; ``Registry.check`` does.

    ``disabled`` names those to leave alone; None takes them from the environment.
    """
    registry = Registry()
    off = switched_off() if disabled is None else list(disabled)
    for point in installed() if points is None else points:
        registry.add(*load_one(point, disabled=off))
    return registry


def load_one(point: EntryPoint, *, disabled: Iterable[str] = ()) -> tuple[Plugin, list[tuple[Kind, Any]]]:
    """Load one plugin in a guard and ask it, once, what it offers."""
    if _same(point.name) in map(_same, disabled):
        return ended(point, "skipped", reason="disabled by HEADRACE_DISABLE_PLUGINS"), []
    unmet = _unmet(point)
    if unmet:
        return ended(point, "incompatible", reason=f"needs {unmet}, this is headrace {__version__}"), []
    try:
        offers = _ask(point.name, point.load())
    except SkipPlugin as skip:
        return ended(point, "skipped", reason=str(skip)), []
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody else's code may raise anything, SystemExit too; the host goes on
        return ended(point, "failed", reason=_told(error), detail=traceback.format_exc()), []
    return ended(point, "loaded", types=[(kind, offer.name) for kind, offer in offers]), offers


def ended(
    point: EntryPoint,
    state: State,
    *,
    types: list[tuple[Kind, str]] | None = None,
    reason: str = "",
    detail: str = "",
) -> Plugin:
    """Note how an entry point ended, with what its distribution says of itself."""
    return Plugin(
        name=point.name,
        distribution=_distribution(point),
        version=point.dist.version if point.dist else "?",
        summary=(point.dist.metadata["Summary"] or "") if point.dist else "",
        state=state,
        types=types or [],
        reason=reason,
        detail=detail,
    )


def _ask(name: str, module: Any) -> list[tuple[Kind, Any]]:
    """A manager for this plugin alone, so that one plugin's hook cannot spoil another's answer."""
    manager = pluggy.PluginManager("headrace")
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    manager.check_pending()  # a misspelt hook is an error, not silence
    offers: list[tuple[Kind, Any]] = []
    for kind, hook in HOOKS.items():
        if callable(getattr(module, hook, None)) and manager.parse_hookimpl_opts(module, hook) is None:
            raise PluginError(f"{hook} lacks @hookimpl, so nobody would call it")
        for answer in getattr(manager.hook, hook)():
            offers.extend((kind, offer) for offer in _checked(hook, Weights if kind == "weights" else Factory, answer))
    return offers


def _checked(hook: str, wanted: type, answer: Any) -> list[Any]:
    """What the hook returned, if it is what the hook promises; found wrong now, it has its plugin's name on it."""
    if not isinstance(answer, list):
        raise PluginError(f"{hook} must return a list of {wanted.__name__}, found {type(answer).__name__}")
    for offer in answer:
        if not isinstance(offer, wanted):
            raise PluginError(f"{hook} must return a list of {wanted.__name__}, found {type(offer).__name__} in it")
        if isinstance(offer, Factory) and not hasattr(offer.config, "model_validate"):
            raise PluginError(f"{hook}: config of {offer.name!r} must be a pydantic model, found {offer.config!r}")
    return answer


def _unmet(point: EntryPoint) -> str:
    """The plugin's requirement on headrace where this version does not meet it."""
    for line in (point.dist.requires if point.dist else None) or []:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.name.lower() != "headrace" or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        if not wanted.specifier.contains(__version__, prereleases=True):
            return f"{wanted.name}{wanted.specifier}"
    return ""


def _told(error: BaseException) -> str:
    """The error in one line; Python's own formatting, which survives an error that cannot print itself."""
    if isinstance(error, PluginError | pluggy.PluginValidationError):
        return " ".join(str(error).split())
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    return next(line for line in lines if not line.startswith(" "))


def _same(name: str) -> str:
    """Names compare as packaging compares them: ``-`` or ``_``, either will do."""
    return name.lower().replace("_", "-")


def _distribution(point: EntryPoint) -> str:
    return (point.dist and point.dist.name) or "?"
