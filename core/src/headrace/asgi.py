"""The app for any ASGI server: ``HEADRACE_CONFIG_FILE=GLOB hypercorn 'headrace.asgi:create_app()'``."""

from __future__ import annotations

import os

from starlette.types import ASGIApp

from .assembly import assemble
from .config import load, loads
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
    tables = config.tables
    return make_app(
        assemble(config, registry), base_path=tables.gateway.base_path, max_body_bytes=tables.headrace.max_body_bytes
    )
