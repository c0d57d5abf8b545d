"""``headrace serve``: assemble, bind, hand the app to Hypercorn. The only module that names a server."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import anyio
import click
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config as ServerConfig

from ..asgi import app_of
from ..assembly import assemble
from ..config import Config, environment
from ..errors import ConfigError
from ..gateway import Gateway
from .elsewhere import check_early_exits, with_early_exits
from .setting import log_to_stderr, open_config, set_level, with_config
from .workers import inherited
from .workers import run as run_workers

_GRACE_S = 10.0
_BACKLOG = 1024


@click.command()
@with_config
@click.option("--bind-address", metavar="IP:PORT", help="Where to listen (default 0.0.0.0:3000; port 0 picks one).")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that share the port.")
@click.option("--log-format", default="pretty", show_default=True, type=click.Choice(["pretty", "json"]))
@with_early_exits
def serve(
    *,
    config_file: str | None,
    default_config: bool,
    strict_plugins: bool,
    bind_address: str | None,
    workers: int,
    log_format: str,
    validate_and_exit: bool,
    **elsewhere: Any,
) -> None:
    """Run the gateway until SIGINT or SIGTERM; requests under way are finished first."""
    check_early_exits(validate_and_exit=validate_and_exit, **elsewhere)
    log_to_stderr(log_format)
    config, registry = open_config(config_file, default_config=default_config, strict_plugins=strict_plugins)
    gateway = assemble(config, registry)  # the parent of several workers does so too: a mistake is told once
    set_level(debug=config.tables.gateway.debug)
    handed_down = inherited()
    address = _address(bind_address, config.tables.gateway.bind_address)
    if validate_and_exit:
        anyio.run(_open_and_close, gateway)
        return
    listener = handed_down or _listen(address)
    if workers > 1 and handed_down is None:
        _announce(listener)
        raise SystemExit(run_workers(listener, workers))
    anyio.run(partial(_serve, gateway, config, listener, announce=handed_down is None))


async def _serve(gateway: Gateway, config: Config, listener: socket.socket, *, announce: bool) -> None:
    """One worker. The gateway is opened here and not by the app, so that what fails then is one line too."""
    app = app_of(gateway, config, owns_gateway=False)
    server = ServerConfig()
    server.bind = [f"fd://{listener.fileno()}"]
    server.loglevel = "WARNING"
    server.graceful_timeout = _GRACE_S
    async with gateway:
        if announce:
            _announce(listener)
        await hypercorn_serve(app, server)  # type: ignore[arg-type]  # it stops by itself at SIGINT and SIGTERM


async def _open_and_close(gateway: Gateway) -> None:
    async with gateway:
        pass


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    click.echo(f"headrace is listening on http://{f'[{host}]' if ':' in host else host}:{port}")


def _address(flag: str | None, configured: str | None) -> str:
    """The flag or the environment, else the configuration; both is a contradiction."""
    given = flag or environment("TENSORZERO_GATEWAY_BIND_ADDRESS")
    if given and configured:
        raise ConfigError(
            f"gateway.bind_address: `{configured}` is configured and `{given}` is given by --bind-address or the "
            "environment: keep one of them"
        )
    return given or configured or "0.0.0.0:3000"


def _listen(address: str) -> socket.socket:
    host, separator, port = address.rpartition(":")
    host = host.strip("[]")
    if not separator or not port.isdecimal() or not host:
        raise ConfigError(f"bind address `{address}` is not of the form IP:PORT, such as 127.0.0.1:3000")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)  # from here on a connection waits for the workers instead of being refused
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "ports end at 65535"
        raise ConfigError(f"cannot listen on {address}: {reason}; choose another with --bind-address") from None
    return listener
