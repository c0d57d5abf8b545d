"""One worker: assemble, open, serve until told to stop, finish, close."""

from __future__ import annotations

import gc
import logging
import signal
import socket
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import anyio

from ..asgi import app_of
from ..assembly import assemble
from ..config import Config, environment
from ..errors import ConfigError
from ..gateway import Gateway
from ..plugins import Registry
from .draining import UnderWay
from .servers import END_S, Serve, server
from .setting import set_level
from .worker import Place

log = logging.getLogger(__name__)

_BACKLOG = 1024
# What one that is replaced waits, so that each client that keeps its connection busy is told to open another.
_SHED_S = 1.0
_REFRESH_S = 1.0


@dataclass(frozen=True)
class Options:
    """What the command line says of serving."""

    server: str
    bind_address: str | None
    drain_delay_s: float
    grace_s: float


def check(config: Config, registry: Registry, options: Options) -> None:
    """Start up completely, and stop. Raise what a worker would."""
    gateway = assemble(config, registry)
    _address(options.bind_address, config.tables.gateway.bind_address)
    server(options.server)
    anyio.run(_open_and_close, gateway)


def work(config: Config, registry: Registry, options: Options, place: Place) -> None:
    """Be a worker. Raise ConfigError, PluginError or StoreError if it cannot be one."""
    gateway = assemble(config, registry)
    set_level(debug=config.tables.gateway.debug)
    serve = server(options.server)
    address = _address(options.bind_address, config.tables.gateway.bind_address)
    listener = place.listener
    if listener is None:
        listener = _listen(address)
        place.listens(listener)
    gateway.telemetry.share(place.board, place.lane)
    run = partial(_run, gateway, config, serve, listener, options, place)
    anyio.run(run, backend_options={"use_uvloop": find_spec("uvloop") is not None})


async def _run(
    gateway: Gateway, config: Config, serve: Serve, listener: socket.socket, options: Options, place: Place
) -> None:
    """The gateway is opened here and not by the app, so that what fails then is one line too."""
    app = UnderWay(app_of(gateway, config, owns_gateway=False))
    stopped = anyio.Event()

    async def drain() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            place.is_ready()
            async for _ in signals:
                break
            # Further signals change nothing (a whole group may get each): to end at once is the parent's to do.
            gateway.draining = True
            await anyio.sleep(max(options.drain_delay_s, _SHED_S) if place.is_replaced else options.drain_delay_s)
            stopped.set()
            await app.finish(options.grace_s, END_S)

    async def refresh() -> None:
        while True:
            await anyio.sleep(_REFRESH_S)
            gateway.telemetry.refresh()

    async with gateway, anyio.create_task_group() as tasks:
        _settle()
        tasks.start_soon(refresh)
        async with anyio.create_task_group() as drained:
            drained.start_soon(drain)
            await serve(app, listener, stop=stopped.wait, grace_s=options.grace_s)
        tasks.cancel_scope.cancel()
    log.info("Server shutdown complete")


def _settle() -> None:
    """What start-up has made stays to the end: never look at it again, and look for other garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _open_and_close(gateway: Gateway) -> None:
    async with gateway:
        pass


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
