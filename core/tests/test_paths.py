"""The promises of ``headrace.paths``."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.paths import models_folder

CACHE = Path.home() / ".cache" / "headrace" / "models"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, CACHE),
        ({"XDG_CACHE_HOME": "/var/cache"}, Path("/var/cache/headrace/models")),
        ({"XDG_CACHE_HOME": "relative"}, CACHE),
        ({"XDG_CACHE_HOME": ""}, CACHE),
        ({"HEADRACE_MODELS": "/models", "XDG_CACHE_HOME": "/var/cache"}, Path("/models")),
        ({"HEADRACE_MODELS": "~/models"}, Path.home() / "models"),
        ({"HEADRACE_MODELS": ""}, CACHE),
    ],
    ids=["nothing-said", "xdg", "xdg-relative", "xdg-empty", "own", "own-home", "own-empty"],
)
def test_models_lie_where_the_environment_says(environ: dict[str, str], expected: Path) -> None:
    assert models_folder(environ) == expected
