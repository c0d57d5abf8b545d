"""``headrace import``: the history of another gateway, into the store that a configuration means."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from ..contracts import Store
from ..errors import HeadraceError
from ..importing import ClickHouse, Postgres, Source, Tally, import_tensorzero
from ..placing import Placing
from ..splits import Shares
from .store import AS_JSON, Chosen, with_store

_FROM_ENVIRONMENT = "env::"


@click.group("import")
def importing() -> None:
    """Bring the history of another gateway."""


@importing.command("tensorzero")
@click.option("--clickhouse-url", metavar="URL", help="Its ClickHouse: http://USER:PASSWORD@HOST:8123/DATABASE.")
@click.option("--postgres-url", metavar="URL", help="Its Postgres; either URL may be env::NAME, to be read from there.")
@click.option("--batch", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="Rows at a time.")
@click.option("--dry-run", is_flag=True, help="Read and map everything, write nothing.")
@AS_JSON
@with_store
def tensorzero(
    *, chosen: Chosen, clickhouse_url: str | None, postgres_url: str | None, batch: int, dry_run: bool, as_json: bool
) -> None:
    """Import what a TensorZero gateway has recorded. May be done again; what is there already stays as it is."""
    if (clickhouse_url is None) == (postgres_url is None):
        raise click.UsageError("name one of --clickhouse-url and --postgres-url")
    splits = chosen.config.tables.headrace.splits
    placing = Placing(Shares(splits.train, splits.validation, splits.test), splits.key)

    async def run(store: Store) -> list[Tally]:
        async with _opened(clickhouse_url, postgres_url, batch) as source:
            return await import_tensorzero(
                source,
                store,
                placing,
                config=chosen.config.text,
                batch=batch,
                dry_run=dry_run,
                advance=said.advance,
            )

    said = _Said()
    with said.progress:
        tallies = chosen.run(run)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(tallies)).decode())
    else:
        _tell(tallies, dry_run=dry_run)


def _opened(clickhouse_url: str | None, postgres_url: str | None, page: int) -> AbstractAsyncContextManager[Source]:
    if clickhouse_url is not None:
        return _as_source(ClickHouse.open(_url(clickhouse_url, "--clickhouse-url")))
    return _as_source(Postgres.open(_url(postgres_url or "", "--postgres-url"), page=min(page, 1000)))


@asynccontextmanager
async def _as_source(opening: AbstractAsyncContextManager[Source]) -> AsyncIterator[Source]:
    async with opening as source:
        yield source


def _url(given: str, option: str) -> str:
    """The URL; ``env::NAME`` keeps a password out of the list of processes and of a shell's history."""
    if not given.startswith(_FROM_ENVIRONMENT):
        return given
    name = given.removeprefix(_FROM_ENVIRONMENT)
    if not (url := os.environ.get(name)):
        raise HeadraceError(f"{option}: the environment has no {name}")
    return url


def _tell(tallies: Sequence[Tally], *, dry_run: bool) -> None:
    there = [tally for tally in tallies if not tally.is_absent]
    _print_table(
        ("table", "read", "would write" if dry_run else "written", "already there", "skipped"),
        [
            (tally.table, *map(str, (tally.read, tally.written, tally.already_there, tally.skipped_count)))
            for tally in there
        ],
    )
    for tally in there:
        for verb, reasons in (("skipped", tally.skipped), ("imported, but", tally.noted)):
            for reason, befell in reasons.items():
                ids = ", ".join(befell.first_ids) + (", ..." if befell.count > len(befell.first_ids) else "")
                click.echo(f"{tally.table}: {befell.count} {verb}: {reason} ({ids})")


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Piped, the table is as wide as its words."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


class _Said:
    """How far one is, on stderr."""

    def __init__(self) -> None:
        self.progress = Progress(*Progress.get_default_columns()[:1], console=Console(stderr=True), transient=True)
        self._task = self.progress.add_task("opening", total=None)

    def advance(self, tally: Tally) -> None:
        self.progress.update(self._task, description=f"{tally.table}: {tally.read} rows read")
