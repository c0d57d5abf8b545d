"""``headrace models``: bring model weights that installed plugins offer, and say which there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from ..contracts import Weights
from ..errors import NotFound
from ..paths import models_folder
from ..plugins import Registry, load


@click.group()
def models() -> None:
    """Pull and list local model weights.

    They lie in the folder that HEADRACE_MODELS names, or else in headrace/models in your cache.
    """


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs to read.")
def show_all(*, as_json: bool) -> None:
    """The weights that `headrace models pull` can bring."""
    found = offered(load())
    if as_json:
        import msgspec

        told = [{"name": weights.name, "summary": weights.summary} for weights in found]
        value = {"folder": str(models_folder()), "weights": told}
        click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
        return
    for weights in found:
        click.echo(f"{weights.name}  {weights.summary}")
    if not found:
        click.echo("no installed plugin offers weights; headrace-llamacpp does")


@models.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def bring(*, names: tuple[str, ...]) -> None:
    """Bring weights and print their files; what is there already is verified."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    with console.status("pulling"):
        files = pull(load(), names, models_folder(), lambda line: console.print(line, markup=False, highlight=False))
    for file in files:
        click.echo(str(file))


def offered(registry: Registry) -> list[Weights]:
    """Every weights on offer, by name."""
    return [registry.get("weights", name, where="models pull") for name in registry.types("weights")]


def pull(registry: Registry, names: Sequence[str], folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Bring each in turn. Raise NotFound before the first if one of them is not on offer."""
    known = {weights.name: weights for weights in offered(registry)}
    if unknown := [name for name in names if name not in known]:
        raise NotFound(f"models pull: no weights are named {', '.join(unknown)} (known: {', '.join(known) or 'none'})")
    return [known[name].pull(folder, say) for name in names]
