"""What tests of every distribution share: both event loops, and no skipping where CI has everything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

# In CI: `shared,model,node`. A test so marked that is skipped there has quietly stopped to guard anything.
REQUIRED = frozenset(filter(None, os.environ.get("HEADRACE_REQUIRE", "").split(",")))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test; whatever cannot run on both (aiohttp) says so by overriding this."""
    backend: str = request.param
    return backend


def pytest_configure(config: pytest.Config) -> None:
    """Say what ``trio_cases`` means."""
    config.addinivalue_line(
        "markers",
        "trio_cases(most): what a case promises hardly depends on the event loop, and each takes long: "
        "on trio only so many of each test, the others with soak",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to ``soak`` the cases on trio that ``trio_cases`` does not ask for."""
    seen: Counter[str] = Counter()
    for item in items:
        most = item.get_closest_marker("trio_cases")
        case: Any = getattr(item, "callspec", None)
        if most and case and case.params.get("anyio_backend") == "trio":
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > most.args[0]:
                item.add_marker(pytest.mark.soak)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped although ``HEADRACE_REQUIRE`` names its marker."""
    report = yield
    wanted = REQUIRED & {marker.name for marker in item.iter_markers()}
    is_declared = "Skipped: lacks " in str(report.longrepr)  # a plugin says which promises it does not make
    if report.skipped and wanted and not is_declared and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but HEADRACE_REQUIRE names {', '.join(sorted(wanted))}: {report.longrepr}"
    return report
