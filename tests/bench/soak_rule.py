"""Whether a curve is flat: the slope of its last half, with an interval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BLOCKS = 10
_T_8 = 2.306  # Student's t: 97.5 %, ten blocks less the two that a line takes
ALLOWED_SHARE = 0.02


@dataclass(frozen=True)
class Slope:
    """Growth from the middle of a run to its end, in the curve's own unit, and its 95 % interval."""

    level: float
    growth: float
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """No growth is proven, or at most that of 2 % of the level (of one, where that is less) is possible."""
        return self.low <= 0 or self.high <= max(ALLOWED_SHARE * self.level, 1)

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"is_flat": self.is_flat}


def last_half(at: Sequence[float], values: Sequence[float]) -> Slope:
    """A line through the means of ten blocks of the last half: samples in a row resemble each other, blocks hardly do.

    Raise ValueError where there are fewer than twenty samples.
    """
    if len(at) < 2 * BLOCKS:
        raise ValueError(f"{len(at)} samples, of at least {2 * BLOCKS} that it takes: let it run longer")
    at, values = at[len(at) // 2 :], values[len(values) // 2 :]
    edges = [round(number * len(at) / BLOCKS) for number in range(BLOCKS + 1)]
    blocks = [slice(*edges[number : number + 2]) for number in range(BLOCKS)]
    x = [statistics.fmean(at[block]) for block in blocks]
    y = [statistics.fmean(values[block]) for block in blocks]
    slope, start = statistics.linear_regression(x, y)
    off = sum((b - start - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    spread = sum((a - statistics.fmean(x)) ** 2 for a in x)
    error = _T_8 * (off / (BLOCKS - 2) / spread) ** 0.5
    span = at[-1] - at[0]
    return Slope(statistics.fmean(y), slope * span, (slope - error) * span, (slope + error) * span)
