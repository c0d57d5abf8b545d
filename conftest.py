"""What tests of every distribution share: both event loops, no skipping where CI has everything, and the wheels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
# In CI: `shared,model,node`. A test so marked that is skipped there has quietly stopped to guard anything.
REQUIRED = frozenset(filter(None, os.environ.get("HEADRACE_REQUIRE", "").split(",")))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test; whatever cannot run on both (aiohttp) says so by overriding this."""
    backend: str = request.param
    return backend


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped although ``HEADRACE_REQUIRE`` names its marker."""
    report = yield
    wanted = REQUIRED & {marker.name for marker in item.iter_markers()}
    if report.skipped and wanted and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but HEADRACE_REQUIRE names {', '.join(sorted(wanted))}: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution, as users would get them."""
    folder = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    return folder
