"""Variables of the environment: every ``TENSORZERO_X`` may also be called ``HEADRACE_X``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import ConfigError

_OURS, _THEIRS = "HEADRACE_", "TENSORZERO_"


def environment(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The value of ``TENSORZERO_X``, or of its alias ``HEADRACE_X``; None if unset or empty.

    Raise ConfigError if both are set and differ.
    """
    stem = name.removeprefix(_THEIRS).removeprefix(_OURS)
    theirs, ours = (environ.get(f"{prefix}{stem}") or None for prefix in (_THEIRS, _OURS))
    if theirs and ours and theirs != ours:
        # Without the values: there are passwords in URLs.
        raise ConfigError(f"{_THEIRS}{stem} and {_OURS}{stem} are both set and differ: keep one of them")
    return ours or theirs
