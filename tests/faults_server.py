"""The drills of a store whose database is a server: it can be killed, cut off and silent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults import Drill, kill_both, kill_the_gateway, pass_an_outage
from faults_proxy import cut_connections, fall_silent

# Asynchronously the same fault meets the same code with more at stake in memory: a variant for `scripts/faults`.
EACH_WAY = pytest.mark.parametrize(
    "is_async", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["sync", "async"]
)


class ServerDrills:
    """Subclass it as ``Test...`` where there are the fixtures ``server`` (``kill9``, ``start``) and ``database``.

    The latter is an ``Engine`` whose ``proxied()`` gives a proxy before the server, and the gateway behind it.
    """

    kills = "`kill -9` of the server"

    @pytest.fixture
    def new_drill(self, serve: Any, tmp_path: Path, database: Any) -> Callable[..., Drill]:
        return partial(Drill, database, serve, tmp_path)

    @EACH_WAY
    def test_kill_9_of_the_gateway(self, new_drill: Any, is_async: bool) -> None:
        kill_the_gateway(new_drill(is_async=is_async))

    @EACH_WAY
    def test_kill_9_of_the_server(self, new_drill: Any, server: Any, is_async: bool) -> None:
        pass_an_outage(new_drill(is_async=is_async), f"{self.kills}, later a start", server.kill9, server.start)

    @EACH_WAY
    def test_kill_9_of_the_server_and_then_of_the_gateway(self, new_drill: Any, server: Any, is_async: bool) -> None:
        what = "`kill -9` of the server, then of the gateway"
        kill_both(new_drill(is_async=is_async), what, server.kill9, server.start)

    @EACH_WAY
    def test_connections_are_cut_in_the_middle(self, new_drill: Any, database: Any, is_async: bool) -> None:
        with database.proxied() as proxy:
            cut_connections(new_drill(is_async=is_async), proxy)

    def test_the_server_falls_silent(self, new_drill: Any, database: Any) -> None:
        with database.proxied() as proxy:
            fall_silent(new_drill(), proxy)
