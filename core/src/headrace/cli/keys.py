"""``headrace keys``: API keys for those who may call the gateway, in the store that a configuration means."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec
from msgspec import structs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..authentication import make_key
from ..contracts import KeyStore, Store
from ..errors import HeadraceError
from ..records import ApiKey
from .setting import open_config
from .store import AS_JSON, Chosen, with_store

_PAGE = 1000
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def _span(ctx: click.Context | None, param: click.Parameter | None, value: str | None) -> timedelta | None:
    """The time of ``90d``: a whole number of seconds, minutes, hours, days or weeks. Raise BadParameter."""
    if value is None:
        return None
    if (found := _SPAN.fullmatch(value)) is None:
        raise click.BadParameter(f"{value!r} is not a number and one of s, m, h, d and w, such as 90d")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise click.BadParameter(f"{value!r} is too long") from None


def _instant(ctx: click.Context | None, param: click.Parameter | None, value: str | None) -> datetime | None:
    """The instant of ``2030-01-31T12:00:00Z``, which is yet to come. Raise BadParameter."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an instant such as 2030-01-31T12:00:00Z") from None
    if at.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone: end it with Z, or with an offset such as +02:00")
    if at <= _now():
        raise click.BadParameter(f"{value!r} is in the past")
    return at


def _with_expiry(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--expires-at", callback=_instant, metavar="INSTANT", help="When: 2030-01-31T12:00:00Z."),
        click.option("--expires-in", callback=_span, metavar="SPAN", help="After how long: 90d, 12h."),
    ):
        command = option(command)
    return command


@click.group()
def keys() -> None:
    """Create, list, disable and rotate API keys."""


@keys.command("create")
@click.option("--description", help="Whose key it is, or what for.")
@_with_expiry
@click.option("--organization", default="default", show_default=True)
@click.option("--workspace", default="default", show_default=True)
@AS_JSON
@with_store
def create(
    *, chosen: Chosen, expires_in: timedelta | None, expires_at: datetime | None, as_json: bool, **about: Any
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    expiry = _expiry(expires_in, expires_at)
    text, key = make_key(_now(), expires_at=expiry, **about)
    _run(chosen, lambda store: store.write([key]))
    _hand_over(text, key, as_json=as_json)


@keys.command("list")
@AS_JSON
@with_store
def show(*, chosen: Chosen, as_json: bool) -> None:
    """Show every key, oldest first, with its state; neither secrets nor hashes."""

    async def read(store: Store) -> list[ApiKey]:
        found: list[ApiKey] = []
        while page := await store.scan(ApiKey, after=str(found[-1].id) if found else "", limit=_PAGE):
            found += page
        return found

    shown = [_shown(key) for key in _run(chosen, read)]
    if as_json:
        _print_json(shown)
        return
    table = Table(*(shown[0] if shown else _shown_names()), box=None, pad_edge=False)
    for row in shown:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


@keys.command("disable")
@click.argument("public_id")
@with_store
def disable(*, chosen: Chosen, public_id: str) -> None:
    """Refuse a key from now on. A gateway that has just seen it may take it for `gateway.auth.cache.ttl_ms` more."""
    if _run(chosen, lambda store: _disable(store, public_id)) is None:
        raise _unknown(public_id)
    click.echo(f"{public_id} is disabled")


@keys.command("rotate")
@click.argument("public_id")
@click.option(
    "--grace",
    callback=_span,
    default="1h",
    show_default=True,
    metavar="SPAN",
    help="How long the old key is taken yet.",
)
@_with_expiry
@AS_JSON
@with_store
def rotate(
    *,
    chosen: Chosen,
    public_id: str,
    grace: timedelta,
    expires_in: timedelta | None,
    expires_at: datetime | None,
    as_json: bool,
) -> None:
    """Make a new key like an old one, print it, and let the old one expire after `--grace`.

    Unless said otherwise the new one is good for as long as the old one was when it was made.
    """
    expiry, grace_ends, now = _expiry(expires_in, expires_at), _expiry(grace, None), _now()

    async def replace(store: Store) -> tuple[str, ApiKey, datetime]:
        old = await _keys(store).api_key(public_id)
        if old is None:
            raise _unknown(public_id)
        if _state(old) != "active":
            raise HeadraceError(f"{public_id} is {_state(old)} already: `headrace keys create` makes a new key")
        if expiry is None and old.expires_at is not None:
            lasts_until = _expiry(old.expires_at - old.created_at, None)
        else:
            lasts_until = expiry
        text, new = make_key(
            now,
            description=old.description,
            organization=old.organization,
            workspace=old.workspace,
            expires_at=lasts_until,
        )
        ends = min(at for at in (grace_ends, old.expires_at) if at is not None)
        await store.write([new, structs.replace(old, expires_at=ends, updated_at=now)])
        return text, new, ends

    text, key, ends = _run(chosen, replace)
    _hand_over(text, key, as_json=as_json)
    click.echo(f"{public_id} is taken until {ends:%Y-%m-%d %H:%M:%S} UTC", err=True)


# -- TensorZero's flags -------------------------------------------------------------------------------------


def create_by_flag(expiration: str | None, **config: Any) -> None:
    """``--create-api-key``: nothing but the key on stdout."""
    text, key = make_key(_now(), expires_at=_instant(None, None, expiration))
    _run(_chosen(**config), lambda store: store.write([key]))
    click.echo(text)


def disable_by_flag(public_id: str, **config: Any) -> None:
    """``--disable-api-key``: no word of an id that there is not."""
    _run(_chosen(**config), lambda store: _disable(store, public_id))


def _chosen(*, config_file: str | None, default_config: bool, strict_plugins: bool) -> Chosen:
    """Without a configuration the store is the one that the environment names, as those flags need none."""
    is_default = default_config or config_file is None
    return Chosen(*open_config(config_file, default_config=is_default, strict_plugins=strict_plugins))


# -- what they share ----------------------------------------------------------------------------------------


def _run(chosen: Chosen, do: Callable[[Store], Awaitable[Any]]) -> Any:
    """Do something with the store open. Raise HeadraceError for one that holds keys nowhere, or for nobody else."""
    if chosen.type == "memory" or not isinstance(chosen.store, KeyStore):
        raise HeadraceError(
            f"the {chosen.type} store keeps no API keys for others: name another `gateway.observability.backend`"
        )
    return chosen.run(do)


def _keys(store: Store) -> KeyStore:
    assert isinstance(store, KeyStore)
    return store


async def _disable(store: Store, public_id: str) -> ApiKey | None:
    """The key as it is then; one that was disabled before stays as it is."""
    key = await _keys(store).api_key(public_id)
    if key is not None and key.disabled_at is None:
        now = _now()
        await store.write([structs.replace(key, disabled_at=now, updated_at=now)])
    return key


def _unknown(public_id: str) -> HeadraceError:
    return HeadraceError(f"no API key has the public id {public_id!r}: `headrace keys list` shows them all")


def _expiry(after: timedelta | None, at: datetime | None) -> datetime | None:
    if after is not None and at is not None:
        raise click.UsageError("--expires-in and --expires-at cannot be used together")
    try:
        return at if after is None else _now() + after
    except OverflowError:
        raise click.UsageError("the span ends after the last day there is") from None


def _hand_over(text: str, key: ApiKey, *, as_json: bool) -> None:
    if as_json:
        _print_json({"key": text, **_shown(key)})
        return
    click.echo(text)
    click.echo("Keep it well: it is shown this once.", err=True)


def _state(key: ApiKey) -> str:
    if key.disabled_at is not None:
        return "disabled"
    return "expired" if key.expires_at is not None and key.expires_at <= _now() else "active"


_SHOWN = ("organization", "workspace", "description", "created_at", "expires_at", "disabled_at")


def _shown(key: ApiKey) -> dict[str, str | None]:
    """All but the hash."""
    values = {name: getattr(key, name) for name in _SHOWN}
    texts = {
        name: each.isoformat(timespec="seconds") if isinstance(each, datetime) else each
        for name, each in values.items()
    }
    return {"public_id": key.public_id, "state": _state(key), **texts}


def _shown_names() -> tuple[str, ...]:
    return ("public_id", "state", *_SHOWN)


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def _now() -> datetime:
    return datetime.now(UTC)
