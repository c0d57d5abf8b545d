"""Entry points to a Registry, one plugin at a time in a guard. The only module that calls a hook."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal, TypeAlias

import pluggy
from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement

from . import __version__, hookspecs
from .contracts import Factory, Weights
from .errors import ConfigError, PluginError, SkipPlugin

GROUP = "headrace"

Kind: TypeAlias = Literal["provider", "store", "variant", "optimizer", "evaluator", "transport", "weights"]
State: TypeAlias = Literal["loaded", "skipped", "failed", "incompatible"]

HOOKS: Mapping[Kind, str] = {
    "provider": "headrace_providers",
    "store": "headrace_stores",
    "variant": "headrace_variants",
    "optimizer": "headrace_optimizers",
    "evaluator": "headrace_evaluators",
    "transport": "headrace_transports",
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
        self._offers: dict[tuple[Kind, str], list[tuple[Any, str]]] = {}

    def add(self, plugin: Plugin, offers: Iterable[tuple[Kind, Factory[Any] | Weights]]) -> None:
        """Note a plugin and what it offers."""
        self.plugins.append(plugin)
        for kind, offer in offers:
            self._offers.setdefault((kind, offer.name), []).append((offer, plugin.distribution))

    def types(self, kind: Kind) -> list[str]:
        """The installed types of a kind, sorted."""
        return sorted(name for of, name in self._offers if of == kind)

    def get(self, kind: Kind, name: str, *, where: str) -> Any:
        """The factory (or weights) of a type. ``where`` is the TOML key to name in the ConfigError."""
        offers = self._offers.get((kind, name))
        if offers is None:
            raise ConfigError(
                f'{where} = "{name}" is not an installed type '
                f"({kind}s: {', '.join(self.types(kind)) or 'none'}){self._hint(name)}"
            )
        return offers[0][0]

    def check(self, *, strict: bool = False) -> None:
        """Raise PluginError on a type offered twice; with ``strict`` also on a plugin that failed."""
        for (kind, name), offers in sorted(self._offers.items()):
            if len(offers) > 1:
                both = " and ".join(distribution for _, distribution in offers)
                raise PluginError(f'{kind} type "{name}" is offered by {both}: uninstall one of them')
        bad = [plugin for plugin in self.plugins if plugin.state in ("failed", "incompatible")]
        if strict and bad:
            shown = "; ".join(f"{plugin.distribution}: {plugin.state}: {plugin.reason}" for plugin in bad)
            raise PluginError(f"--strict-plugins: {shown}")

    def _hint(self, name: str) -> str:
        """A plugin of that name that is there but not loaded is most likely what the configuration means."""
        for plugin in self.plugins:
            if plugin.state != "loaded" and plugin.name.replace("-", "_") == name:
                return f"; {plugin.distribution} is installed but {plugin.state}: {plugin.reason}"
        return ""


def installed() -> list[EntryPoint]:
    """The entry points of every installed plugin, in a stable order. Imports nothing."""
    return sorted(entry_points(group=GROUP), key=lambda point: (_distribution(point), point.name))


def load(points: Sequence[EntryPoint] | None = None, *, disabled: Iterable[str] = ()) -> Registry:
    """Load every plugin in turn. Never raises for a plugin's sake; ``Registry.check`` does."""
    registry = Registry()
    off = set(disabled)
    for point in installed() if points is None else points:
        plugin, offers = load_one(point, disabled=point.name in off)
        registry.add(plugin, offers)
    return registry


def load_one(point: EntryPoint, *, disabled: bool = False) -> tuple[Plugin, list[tuple[Kind, Any]]]:
    """Load one plugin in a guard and ask it, once, what it offers."""
    if disabled:
        return _ended(point, "skipped", reason="disabled by HEADRACE_DISABLE_PLUGINS"), []
    wanted = _unmet(point)
    if wanted:
        return _ended(point, "incompatible", reason=f"needs {wanted}, this is headrace {__version__}"), []
    try:
        offers = _ask(point.name, point.load())
    except SkipPlugin as skip:
        return _ended(point, "skipped", reason=str(skip)), []
    except (Exception, SystemExit) as error:  # somebody else's code may raise anything, and the host must go on
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return _ended(point, "failed", reason=reason, detail=traceback.format_exc()), []
    return _ended(point, "loaded", types=[(kind, offer.name) for kind, offer in offers]), offers


def _ask(name: str, module: ModuleType) -> list[tuple[Kind, Any]]:
    """A manager for this plugin alone, so that one plugin's hook cannot spoil another's answer."""
    manager = pluggy.PluginManager("headrace")
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    manager.check_pending()  # a misspelt hook is an error, not silence
    offers: list[tuple[Kind, Any]] = []
    for kind, hook in HOOKS.items():
        for answer in getattr(manager.hook, hook)():
            for offer in answer:
                wanted = Weights if kind == "weights" else Factory
                if not isinstance(offer, wanted):
                    raise PluginError(f"{hook} must return a list of {wanted.__name__}, found {offer!r}")
                offers.append((kind, offer))
    return offers


def _unmet(point: EntryPoint) -> str:
    """The plugin's requirement on headrace where this version does not meet it."""
    for line in (point.dist.requires if point.dist else None) or []:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.name.lower() == "headrace" and not requirement.specifier.contains(__version__, prereleases=True):
            return str(requirement)
    return ""


def _ended(
    point: EntryPoint,
    state: State,
    *,
    types: list[tuple[Kind, str]] | None = None,
    reason: str = "",
    detail: str = "",
) -> Plugin:
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


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "?"
