"""What is made of turns of load: quantiles, what a gateway adds, and whether it has become slower."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Found = dict[str, Any]
ALLOWED = 1.10
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so great a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def summary(turns: list[Found]) -> Found:
    """Some turns of one target as one: times over all their requests, CPU time of the best, memory of the worst."""
    times = {name: [each for turn in turns for each in turn[name]] for name in ("latency_us", "first_us", "late_us")}
    return {
        "rps": max(turn["rps"] for turn in turns),
        "answered": sum(turn["answered"] for turn in turns),
        "errors": sum(turn["errors"] for turn in turns),
        "wrong": next((turn["wrong"] for turn in turns if turn["wrong"]), {}),
        # Neighbours on the machine only ever add to it.
        "cpu_ms": min(turn["cpu_ms"] for turn in turns),
        "cpu_ms_of_turns": [turn["cpu_ms"] for turn in turns],
        "helper_cpu_ms": min(turn["helper_cpu_ms"] for turn in turns),
        "rss_mib": max(turn["rss_mib"] for turn in turns),
        **{name: _quantiles(values) for name, values in times.items()},
    }


def _quantiles(values: list[int]) -> dict[str, float]:
    return {name: quantile(values, share) for name, share in QUANTILES.items()} if values else {}


def added(found: Found, name: str, case: str, rate: str, times: str = "latency_us") -> dict[str, float]:
    """What a target's quantiles have more than those of no gateway, in milliseconds; empty if it was not measured."""
    mine, none = (found["targets"][each]["cases"][case].get(rate, {}).get(times, {}) for each in (name, "direct"))
    return {each: (mine[each] - none[each]) / 1000 for each in mine if each in none}


def shape(machine: Found) -> str:
    """A name that machines share whose figures can be compared."""
    return f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"


def in_bare(found: Found, name: str, case: str) -> float | None:
    """CPU time of a request in those of the bare app, same run: a slow day hits both. None if not measured."""
    targets = found.get("targets", {})
    mine, bare = (targets.get(each, {}).get("cases", {}).get(case, {}).get("0") for each in (name, "bare"))
    if not mine or not bare or not mine["answered"] or not bare["cpu_ms"]:
        return None
    ratio: float = mine["cpu_ms"] / bare["cpu_ms"]
    return ratio


def regressions(found: Found, last: Found) -> list[str]:
    """Which of ours take more CPU a request than they did, in sentences. Peers and ``direct`` are not judged."""
    told = []
    for name in found["targets"]:
        if "-" not in name:
            continue
        for case in found["targets"][name]["cases"]:
            now, before = in_bare(found, name, case), in_bare(last, name, case)
            if now and before and now > ALLOWED * before:
                told.append(
                    f"{name}, {case}: {now:.2f} times a bare app's, it was {before:.2f} (+{now / before - 1:.0%})"
                )
    return told
