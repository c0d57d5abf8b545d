"""How a function draws its variant: a hash of function and episode, so an episode keeps its variant unstored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from uuid import UUID


class Draw:
    """The draws of one inference: one variant after another until one succeeds, each with its probability."""

    def __init__(self, weights: Mapping[str, float], fallbacks: Sequence[str], point: float) -> None:
        self._weights = dict(sorted(weights.items()))
        self._fallbacks = list(fallbacks)
        self._point = point
        # The part of [0, 1) in which every draw so far would have come out the same.
        self._low, self._high = 0.0, 1.0

    def next(self) -> tuple[str, float] | None:
        """A variant not drawn before, and the probability over episodes of this sequence of draws; None at the end.

        Redraws use the same point over the rest (spec/experimentation.md 3), so the probability is the length of
        the interval of points that lead here, not a product of weights.
        """
        total = sum(self._weights.values())
        if total > 0:
            return self._weighted(total)
        if self._fallbacks:
            return self._fallbacks.pop(0), self._probability()
        if self._weights:  # weight 0 in a table: the last resort, uniform
            self._weights = dict.fromkeys(self._weights, 1.0)
            return self.next()
        return None

    def _weighted(self, total: float) -> tuple[str, float]:
        threshold, cumulative = self._point * total, 0.0
        chosen = ""
        for name, weight in self._weights.items():
            before, cumulative = cumulative, cumulative + weight
            if weight > 0:
                chosen = name
                low, high = before / total, cumulative / total
                if cumulative > threshold:
                    break
        del self._weights[chosen]
        self._low, self._high = max(self._low, low), min(self._high, high)
        return chosen, self._probability()

    def _probability(self) -> float:
        # Where two draws share a bound, rounding can leave nothing between them; but this point is one of 2**32.
        return max(self._high - self._low, 2**-32)


class Only(Draw):
    """The draws where there is nothing to choose."""

    def __init__(self, name: str) -> None:
        self._name: str | None = name

    def next(self) -> tuple[str, float] | None:
        """The one variant, then the end."""
        name, self._name = self._name, None
        return None if name is None else (name, 1.0)


class Experiment:
    """Candidates with weights (need not sum to 1), then fallbacks in order."""

    def __init__(self, weights: Mapping[str, float], fallbacks: Sequence[str] = ()) -> None:
        self.weights = dict(weights)
        self.fallbacks = tuple(fallbacks)
        self._only = next(iter(self.reachable)) if len(self.reachable) == 1 else None

    @property
    def reachable(self) -> frozenset[str]:
        """Every variant that some draw can give."""
        return frozenset((*self.weights, *self.fallbacks))

    def draw(self, function_name: str, episode_id: UUID) -> Draw:
        """Begin to draw; the same function and episode draw the same while the weights stand."""
        if self._only is not None:
            return Only(self._only)
        return Draw(self.weights, self.fallbacks, point(function_name, episode_id))

    def probabilities(self) -> dict[str, float]:
        """The probability of each variant on the first draw."""
        total = sum(self.weights.values())
        if total > 0:
            shares = {name: weight / total for name, weight in self.weights.items()}
            return shares | dict.fromkeys(self.fallbacks, 0.0)
        first = self.fallbacks[:1]
        return {name: float(name in first) for name in (*self.weights, *self.fallbacks)}


def point(function_name: str, episode_id: UUID) -> float:
    """A uniform number in [0, 1) from function and episode (spec/experimentation.md 3)."""
    digest = hashlib.sha256(function_name.encode() + episode_id.bytes).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
