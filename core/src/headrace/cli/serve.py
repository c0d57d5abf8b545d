"""``headrace serve``: a small process that holds the port, and workers that do the rest (``serving``)."""

from __future__ import annotations

import socket
from typing import Any

import click

from .elsewhere import check_early_exits, with_early_exits
from .setting import log_to_stderr, open_config, with_config
from .worker import placed

SERVERS = ("hypercorn", "uvicorn", "granian")


@click.command()
@with_config
@click.option("--bind-address", metavar="IP:PORT", help="Where to listen (default 0.0.0.0:3000; port 0 picks one).")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that share the port.")
@click.option("--server", default=SERVERS[0], show_default=True, type=click.Choice(SERVERS), help="What speaks HTTP.")
@click.option(
    "--drain-delay",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="S",
    help="Seconds in which /health says 503 before new connections are refused.",
)
@click.option(
    "--grace",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="S",
    help="Seconds for requests under way to end in.",
)
@click.option("--log-format", default="pretty", show_default=True, type=click.Choice(["pretty", "json"]))
@with_early_exits
def serve(
    *,
    config_file: str | None,
    default_config: bool,
    strict_plugins: bool,
    bind_address: str | None,
    workers: int,
    server: str,
    drain_delay: float,
    grace: float,
    log_format: str,
    validate_and_exit: bool,
    **elsewhere: Any,
) -> None:
    """Run the gateway until SIGINT or SIGTERM; requests under way are finished first. SIGHUP reloads."""
    check_early_exits(validate_and_exit=validate_and_exit, **elsewhere)
    log_to_stderr(log_format)
    place = placed()
    if place is None and not validate_and_exit:
        from .workers import Supervisor

        raise SystemExit(Supervisor(workers, _announce).run())
    config, registry = open_config(config_file, default_config=default_config, strict_plugins=strict_plugins)
    from .serving import Options, check, work  # the gateway with all its libraries: not for the process above

    options = Options(server, bind_address, drain_delay_s=drain_delay, grace_s=grace)
    if place is None:
        check(config, registry, options)
    else:
        work(config, registry, options, place)


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    click.echo(f"headrace is listening on http://{f'[{host}]' if ':' in host else host}:{port}")
