"""``headrace plugins``: what is installed, what each plugin offers, and what to do about one that does not load."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import PluginError
from ..plugins import Plugin, duplicates
from .survey import Report, survey

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs to read.")


@click.group()
def plugins() -> None:
    """See what is installed, and why something is not loaded.

    Plugins are loaded in another process, so this works with plugins that crash.
    """


@plugins.command("list")
@AS_JSON
def show_all(*, as_json: bool) -> None:
    """Every plugin with its types, distribution, version and state."""
    found = [report.plugin for report in survey()]
    if as_json:
        _print_json(found)
        return
    rows: list[tuple[str, ...]] = []
    for plugin in found:
        rest = (plugin.name, plugin.distribution, plugin.version, _state(plugin))
        rows += [(kind, name, *rest) for kind, name in plugin.types] or [("-", "-", *rest)]
    _print_table(("kind", "type", "plugin", "distribution", "version", "state"), sorted(rows))


@plugins.command("info")
@click.argument("name")
@AS_JSON
def show_one(*, name: str, as_json: bool) -> None:
    """One plugin in full, by its name or its distribution's: types, their settings, the traceback if it failed."""
    found = survey()
    wanted = [report for report in found if name in (report.plugin.name, report.plugin.distribution)]
    if not wanted:
        known = ", ".join(report.plugin.name for report in found) or "none"
        raise PluginError(f"{name} is not an installed plugin (installed: {known})")
    if as_json:
        _print_json(wanted)
        return
    for report in wanted:
        _print_report(report)


@plugins.command("doctor")
@AS_JSON
def doctor(*, as_json: bool) -> None:
    """Say what is wrong and what would help; exit status 1 if anything is."""
    found = [report.plugin for report in survey()]
    problems = [problem for plugin in found if (problem := _problem(plugin))] + duplicates(found)
    if as_json:
        _print_json({"plugins": len(found), "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{len(found)} plugins, {len(problems)} problems")
    sys.exit(1 if problems else 0)


def _problem(plugin: Plugin) -> str:
    """What is wrong with a plugin by itself, and what would do."""
    if plugin.state == "incompatible":
        return f"{plugin.distribution} {plugin.reason}: pip install --upgrade headrace {plugin.distribution}"
    if plugin.state == "failed":
        return (
            f"{plugin.distribution} failed: {plugin.reason}: see `headrace plugins info {plugin.name}`; upgrade it, "
            f"uninstall it, or start with HEADRACE_DISABLE_PLUGINS={plugin.name}"
        )
    return ""


def _state(plugin: Plugin) -> str:
    return f"{plugin.state}: {plugin.reason}" if plugin.reason else plugin.state


def _print_report(report: Report) -> None:
    plugin = report.plugin
    click.echo(f"{plugin.name} ({plugin.distribution} {plugin.version}): {_state(plugin)}")
    if plugin.summary:
        click.echo(plugin.summary)
    for offer in report.offers:
        click.echo(f'\n{offer.kind} type = "{offer.name}"')
        rows = [(key.name, key.type, "required" if key.default is None else key.default) for key in offer.settings]
        if rows:
            _print_table(("key", "type", "default"), rows)
    if plugin.detail:
        click.echo(f"\n{plugin.detail.rstrip()}")


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Cells are ``Text``: a bracket in a reason is not markup. Piped, the table is as wide as its words."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
