"""``headrace store``: its schema, copies of it, moves into another one, and the end of what is past its days."""

from __future__ import annotations

import getpass
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import anyio
import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from .. import moving
from ..assembly.parts import NoTransport, Parts
from ..assembly.storing import Storing
from ..config import Config
from ..contracts import Services, Store, SystemClock
from ..credentials import Credentials
from ..errors import ConfigError, HeadraceError
from ..plugins import Registry
from ..retention import Retention
from ..storage import BackedUp, Migratable, SchemaStatus
from ..telemetry import Telemetry
from .setting import open_config, with_config

T = TypeVar("T")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs to read.")
NEW = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Chosen:
    """The store that a configuration means, not yet open. Nothing else of the configuration is built.

    Raise ConfigError where it has none, or one that cannot be built.
    """

    def __init__(self, config: Config, registry: Registry) -> None:
        self.config = config
        parts = Parts(registry, Services(NoTransport(), Credentials(os.environ).load, SystemClock()))
        storing = Storing(parts, config.tables, os.environ, Telemetry(), None)
        parts.problems.check()
        if storing.store is None:
            raise ConfigError(
                "gateway.observability: this configuration stores nothing; name a `backend`, "
                "or set its URL in the environment"
            )
        self.store: Store = storing.store
        self.type = storing.backend

    @property
    def schema(self) -> Migratable:
        """The same store, if its schema has versions."""
        if not isinstance(self.store, Migratable):
            raise HeadraceError(f"the {self.type} store has no schema that could be brought to another version")
        return self.store

    @property
    def copies(self) -> BackedUp:
        """The same store, if it can be copied."""
        if not isinstance(self.store, BackedUp):
            raise HeadraceError(
                f"the {self.type} store cannot be copied from here: use its database's own tools "
                "(docs/how-to/backup.md), or `headrace store export`"
            )
        return self.store

    def run(self, do: Callable[[Store], Awaitable[T]]) -> T:
        """Do something with the store open."""

        async def opened() -> T:
            async with self.store as store:
                return await do(store)

        return anyio.run(opened)


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a configuration, and hand the command its store as ``chosen``."""

    def opens(*, config_file: str | None, default_config: bool, strict_plugins: bool, **options: Any) -> None:
        config, registry = open_config(config_file, default_config=default_config, strict_plugins=strict_plugins)
        command(chosen=Chosen(config, registry), **options)

    opens.__doc__ = command.__doc__
    return with_config(opens)


@click.group()
def store() -> None:
    """Look after the store that a configuration means: schema, copies, moves, retention."""


# -- schema -------------------------------------------------------------------------------------------------


@store.command("status")
@AS_JSON
@with_store
def show_status(*, chosen: Chosen, as_json: bool) -> None:
    """Say how the schema stands; change nothing."""
    found = anyio.run(chosen.schema.schema) if isinstance(chosen.store, Migratable) else None
    if as_json:
        _print_json({"type": chosen.type, "schema": found})
    elif found is None:
        click.echo(f"{chosen.type}: its schema has no versions")
    else:
        click.echo(f"{chosen.type}: {_versions(found)}")
        rows = [
            (str(number), "done" if number <= found.found else "to do", step)
            for number, step in enumerate(found.steps, start=1)
        ]
        _print_table(("version", "state", "step"), rows)


@store.command("migrate")
@click.option("--to", type=click.IntRange(1), help="This version; the newest one by default.")
@with_store
def migrate(*, chosen: Chosen, to: int | None) -> None:
    """Bring the schema to a newer version."""

    async def forward() -> SchemaStatus:
        before = await chosen.schema.schema()
        if to is not None and to < before.found:
            raise HeadraceError(
                f"--to {to}: the schema is at version {before.found} already; "
                f"`headrace store downgrade --to {to}` goes back"
            )
        return await chosen.schema.migrate(to)

    click.echo(f"{chosen.type}: {_versions(anyio.run(forward))}")


@store.command("downgrade")
@click.option("--to", type=click.IntRange(0), required=True, help="This version.")
@with_store
def downgrade(*, chosen: Chosen, to: int) -> None:
    """Bring the schema back to an older version; what has no place there is lost. Stop every gateway before."""

    async def back() -> SchemaStatus:
        before = await chosen.schema.schema()
        if to > before.found:
            raise HeadraceError(
                f"--to {to}: the schema is at version {before.found}; `headrace store migrate --to {to}` goes forward"
            )
        return await chosen.schema.migrate(to)

    click.echo(f"{chosen.type}: {_versions(anyio.run(back))}")


def _versions(status: SchemaStatus) -> str:
    if status.found > status.known:
        return f"schema version {status.found}, newer than the {status.known} known here: upgrade headrace"
    newest = "the newest" if status.found == status.known else f"{status.known} is the newest: `headrace store migrate`"
    return f"schema version {status.found}, {newest}"


# -- copies -------------------------------------------------------------------------------------------------


@store.command("backup")
@click.argument("file", type=NEW)
@with_store
def backup(*, chosen: Chosen, file: Path) -> None:
    """Copy the store to a new file, whole and consistent, also while gateways run."""
    copies = chosen.copies
    if file.exists():
        raise HeadraceError(f"{file}: is there already; remove it or choose another name")
    anyio.run(copies.backup, file)
    click.echo(f"wrote {file}", err=True)


@store.command("restore")
@click.argument("file", type=FILE)
@with_store
def restore(*, chosen: Chosen, file: Path) -> None:
    """Put such a copy in the place of what is there. Stop every gateway before."""
    anyio.run(chosen.copies.restore, file)
    click.echo(f"restored {file}", err=True)


# -- moves --------------------------------------------------------------------------------------------------


@store.command("export")
@click.argument("folder", type=NEW, metavar="DIR")
@click.option("--format", "format_", default="jsonl", show_default=True, type=click.Choice(get_args(moving.Format)))
@click.option("--reader", help="Who reads the test splits with it; you, as the system knows you, by default.")
@with_store
def export(*, chosen: Chosen, folder: Path, format_: moving.Format, reader: str | None) -> None:
    """Write all records to a new folder. Test splits are among them, so this is noted as an access to each."""
    said = _Said()
    with said.progress:
        manifest = chosen.run(
            lambda store: moving.export(
                store,
                folder,
                format_,
                clock=SystemClock(),
                reader=reader or _user(),
                snapshot_hash=chosen.config.hash,
                advance=said.advance,
            )
        )
    rows = [(name, str(part.rows), part.sha256) for name, part in manifest.kinds.items()]
    _print_table(("kind", "rows", "SHA-256"), rows)
    click.echo(f"wrote {folder}", err=True)


@store.command("import")
@click.argument("folder", type=FOLDER, metavar="DIR")
@AS_JSON
@with_store
def import_(*, chosen: Chosen, folder: Path, as_json: bool) -> None:
    """Write what an export has and this store has not; then compare them, row by row. May be done again."""
    said = _Said()
    with said.progress:
        found = chosen.run(lambda store: moving.import_(store, folder, advance=said.advance))
    _tell(found, chosen.type, as_json=as_json, written=True)


@store.command("verify")
@click.argument("folder", type=FOLDER, metavar="DIR")
@AS_JSON
@with_store
def verify(*, chosen: Chosen, folder: Path, as_json: bool) -> None:
    """Compare this store with an export, row by row; exit status 1 unless all of the export is here."""
    found = chosen.run(lambda store: moving.verify(store, folder))
    _tell(found, chosen.type, as_json=as_json)


def _tell(found: Sequence[moving.Agreement], type_: str, *, as_json: bool, written: bool = False) -> None:
    """A table, and an error if the store lacks anything of the export."""
    if as_json:
        _print_json(found)
    else:
        columns = ("rows", *(("written",) if written else ()), "same", "newer", "different", "missing", "others")
        rows = [
            (each.kind, *(str(getattr(each, column)) for column in columns), "equal" if each.is_equal else "differs")
            for each in found
        ]
        _print_table(("kind", *columns, "SHA-256"), rows)
    if lacking := [each for each in found if not each.is_kept]:
        told = ", ".join(f"{each.kind} ({each.missing} missing, {each.different} different)" for each in lacking)
        raise HeadraceError(f"the {type_} store does not have all of the export: {told}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number that has no name
        return f"uid {os.getuid()}"


class _Said:
    """How far one is, on stderr."""

    def __init__(self) -> None:
        self.progress = Progress(*Progress.get_default_columns()[:1], console=Console(stderr=True), transient=True)
        self._task = self.progress.add_task("opening", total=None)
        self._rows = 0

    def advance(self, kind: str, rows: int) -> None:
        self._rows += rows
        if self._rows % 1000 < rows:
            self.progress.update(self._task, description=f"{kind}: {self._rows} rows")


# -- retention ----------------------------------------------------------------------------------------------


@store.command("expire")
@AS_JSON
@with_store
def expire(*, chosen: Chosen, as_json: bool) -> None:
    """End what is past its days in [headrace.retention], once; a running gateway does so every hour."""
    tables = chosen.config.tables
    days = tables.headrace.retention.days(tables.postgres if chosen.type == "postgres" else None)
    ended = chosen.run(lambda store: Retention(store, SystemClock(), days).expire()) if days else []
    if as_json:
        _print_json(ended)
    elif not days:
        click.echo("headrace.retention: no days are set, so nothing ends")
    else:
        rows = [
            (each.what, str(days[each.what]), each.before.isoformat(timespec="seconds"), str(each.rows))
            for each in ended
        ]
        _print_table(("what", "days", "before", "rows"), rows)


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Piped, the table is as wide as its words."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
