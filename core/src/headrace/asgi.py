"""The app for any ASGI server: ``HEADRACE_CONFIG_FILE=GLOB hypercorn 'headrace.asgi:create_app()'``."""

from __future__ import annotations

import os

from starlette.types import ASGIApp

from .assembly import assemble
from .config import Config, load, loads
from .gateway import Gateway
from .http.app import create_app as make_app
from .plugins import load as load_plugins


def create_app() -> ASGIApp:
    """The app of the configuration that ``HEADRACE_CONFIG_FILE`` names (without it, an empty one).

    It opens the gateway in its lifespan. Raise ConfigError or PluginError.
    """
    pattern = os.environ.get("HEADRACE_CONFIG_FILE")
    registry = load_plugins()
    registry.check()
    config = load(pattern) if pattern else loads()
    return app_of(assemble(config, registry), config)


def app_of(gateway: Gateway, config: Config, *, owns_gateway: bool = True) -> ASGIApp:
    """The app of a gateway, as its configuration wants it; it opens the gateway itself if it owns it."""
    tables = config.tables
    return make_app(
        gateway,
        base_path=tables.gateway.base_path,
        max_body_bytes=tables.headrace.max_body_bytes,
        error_json=tables.gateway.unstable_error_json,
        debug=tables.gateway.debug,
        owns_gateway=owns_gateway,
    )
