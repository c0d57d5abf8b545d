"""Where headrace keeps files of its own on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where pulled model weights lie: ``HEADRACE_MODELS``, or ``headrace/models`` in the user's cache (XDG)."""
    if chosen := environ.get("HEADRACE_MODELS"):
        return Path(chosen).expanduser()
    cache = Path(environ.get("XDG_CACHE_HOME") or "")
    # The XDG specification wants relative paths ignored.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "headrace" / "models"
