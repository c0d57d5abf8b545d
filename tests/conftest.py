"""Fixtures of the tests that run a gateway as its users do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import served
from served import Serve


@pytest.fixture
def serve(tmp_path: Path, serve_in: Callable[[Path], Serve]) -> Serve:
    """``with serve(toml, "--workers", "2") as served``."""
    return serve_in(tmp_path)


@pytest.fixture(scope="session")
def serve_in() -> Callable[[Path], Serve]:
    """``serve`` in another folder: for a gateway that several tests share."""
    return served.serve_in
