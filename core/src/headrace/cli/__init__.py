"""The ``headrace`` command. A subcommand's module is imported when it is called, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module

import click

from .. import __version__
from ..errors import HeadraceError

# The command `x` is `headrace.cli.x:x`; what --help says of it stands here, so that nothing else is imported.
COMMANDS: Mapping[str, str] = {
    "serve": "Run the gateway.",
    "validate": "Check a configuration and stop.",
    "plugins": "See what is installed, and why something is not loaded.",
    "models": "Pull and list local model weights.",
    "store": "Look after the store: schema, copies, moves, retention.",
    "keys": "Create, list, disable and rotate API keys.",
    "import": "Bring the history of another gateway.",
    "evaluate": "Score variants on a dataset.",
    "optimize": "Make a better variant from data.",
}

# A module cannot be called by a word of the language.
_MODULES: Mapping[str, str] = {"import": "importing"}


class Lazy(click.Group):
    """A group whose commands are modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of ``COMMANDS``: what one needs first comes first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it now."""
        if cmd_name not in COMMANDS:
            return None
        name = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = getattr(import_module(f"{__name__}.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them from ``COMMANDS`` alone; click's own would import every one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Lazy)
@click.version_option(__version__, prog_name="headrace")
def headrace() -> None:
    """An LLM gateway and learning loop in which every capability is a plugin."""


def main() -> None:
    """Run the command; what we raise on purpose is told without a traceback unless ``HEADRACE_DEBUG=1``."""
    try:
        headrace()
    except HeadraceError as error:
        if os.environ.get("HEADRACE_DEBUG") == "1":
            raise
        for line in str(error).splitlines():
            click.echo(f"headrace: error: {line}", err=True)
        sys.exit(1)
