"""What the bench and the soak conclude from what they measured: rules, without any measuring."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent / "bench"))

from load import Ask, Load, post
from soak_rule import last_half
from speed_rule import added, in_bare, quantile, regressions, summary

UPSTREAM = Path(__file__).parent / "bench" / "upstream.py"


def turn(cpu_ms: float = 1.0, times: list[int] | None = None, **more: Any) -> dict[str, Any]:
    each = [1000, 2000] if times is None else times
    known = {"rps": 100.0, "answered": 10, "errors": 0, "wrong": {}, "cpu_ms": cpu_ms, "helper_cpu_ms": 0.0}
    return known | {"rss_mib": 100.0, "latency_us": each, "first_us": each, "late_us": each} | more


def run(**cpu_ms: float) -> dict[str, Any]:
    """A run in which each target's plain requests took so much CPU time."""
    named = {name.replace("_", "-"): value for name, value in cpu_ms.items()}
    return {"targets": {name: {"cases": {"chat": {"0": summary([turn(value)])}}} for name, value in named.items()}}


def test_a_quantile_is_a_value_that_was_seen() -> None:
    values = list(range(1, 101))
    random.Random(1).shuffle(values)
    assert [quantile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert quantile([7], 0.5) == 7


def test_turns_are_summed_up_over_all_their_requests_and_the_best_cpu_time_counts() -> None:
    found = summary([turn(1.5, [1] * 99), turn(1.2, [9]), turn(2.0, [], errors=2, wrong={"500 no": 2})])
    assert found["cpu_ms"] == 1.2
    assert (found["answered"], found["errors"], found["wrong"]) == (30, 2, {"500 no": 2})
    assert found["latency_us"] == {"p50": 1, "p90": 1, "p99": 1}


def test_added_time_is_what_no_gateway_does_not_take() -> None:
    slow, fast = (summary([turn(times=times)]) for times in ([3000], [1000]))
    found = {"targets": {name: {"cases": {"chat": {"50": each}}} for name, each in (("x", slow), ("direct", fast))}}
    assert added(found, "x", "chat", "50") == {"p50": 2.0, "p90": 2.0, "p99": 2.0}
    assert added(found, "x", "chat", "500") == {}


def test_a_slower_day_is_no_regression() -> None:
    last, now = run(bare=0.2, uvicorn_off=1.0), run(bare=0.4, uvicorn_off=2.0)
    assert in_bare(now, "uvicorn-off", "chat") == in_bare(last, "uvicorn-off", "chat")
    assert regressions(now, last) == []


@pytest.mark.parametrize(("cpu_ms", "is_told"), [(1.09, False), (1.11, True), (0.5, False)])
def test_more_than_ten_percent_is_a_regression(cpu_ms: float, is_told: bool) -> None:
    told = regressions(run(bare=0.2, uvicorn_off=cpu_ms), run(bare=0.2, uvicorn_off=1.0))
    assert [each.partition(",")[0] for each in told] == (["uvicorn-off"] if is_told else [])


def test_only_what_both_runs_have_is_judged_and_peers_never_are() -> None:
    assert regressions(run(bare=0.2, uvicorn_off=9.0, litellm=9.0), run(bare=0.2, litellm=1.0)) == []
    assert regressions(run(uvicorn_off=9.0), run(uvicorn_off=1.0)) == []
    assert regressions(run(bare=0.2, uvicorn_off=9.0), {}) == []


def curve(growth: float, noise: float, level: float = 200.0, count: int = 200) -> tuple[list[float], list[float]]:
    dice = random.Random(3)
    at = [float(number) for number in range(count)]
    return at, [level + growth * number / count + dice.gauss(0, noise) for number in range(count)]


def test_noise_around_a_level_is_flat_and_a_leak_is_not() -> None:
    assert last_half(*curve(0, noise=2)).is_flat
    leak = last_half(*curve(60, noise=2))
    assert not leak.is_flat
    assert leak.low < 30 < leak.high
    assert last_half(*curve(2, noise=0.1)).is_flat  # proven, but it cannot be 2 % of the level


def test_growth_in_the_first_half_is_not_judged() -> None:
    at, values = curve(0, noise=1)
    assert last_half(at, [value - 100 if place < 90 else value for place, value in enumerate(values)]).is_flat


def test_a_run_that_is_too_short_to_judge_is_told() -> None:
    with pytest.raises(ValueError, match="19 samples"):
        last_half(list(range(19)), [1.0] * 19)


# -- load and upstream: on asyncio alone, whose protocols they are made of ---------------------------------------


@pytest.fixture
def upstream() -> Any:
    with subprocess.Popen([sys.executable, str(UPSTREAM)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
        process.kill()


def loaded(url: str, *asks: Ask) -> Load:
    """A load that asks each of these in turn, over and over."""
    where, turns = urlsplit(url), iter(range(10**6))
    return Load((where.hostname or "", where.port or 0), lambda: asks[next(turns) % len(asks)], timeout_s=5)


def test_load_tells_right_from_wrong_and_who_left(upstream: str) -> None:
    async def measure() -> None:
        def content(path: str, *, stream: bool = False) -> bytes:
            return post(f"{upstream}{path}/v1/chat/completions", b'{"stream": true}' if stream else b"{}")

        load = loaded(
            upstream,
            Ask(content(""), b'"choices"'),
            Ask(content("", stream=True), b"[DONE]"),
            Ask(content("/e500"), b"error", 500),
            Ask(content("/e500")),
            Ask(content("/cut", stream=True), b"[DONE]"),
            Ask(content("/d5000"), leaves_s=0.01),
        )
        seen = await load.at_once(2, lambda: load.asked < 60, warmup_s=0)
        whole, rest = divmod(load.asked, 6)
        assert seen.left == whole
        assert seen.answered == 3 * whole + min(rest, 3)
        assert seen.answered + seen.left + seen.errors == load.asked
        assert {told.split()[0] for told in seen.wrong} == {"500", "the"}
        assert len(seen.latency_us) == seen.answered

    asyncio.run(measure())


def test_load_at_a_rate_asks_evenly_and_charges_a_stall_to_all_it_delays(upstream: str) -> None:
    async def measure() -> None:
        at_once = loaded(upstream, Ask(post(f"{upstream}/v1/chat/completions", b"{}"), b'"choices"'))
        seen = await at_once.at_rate(200, 0.5, warmup_s=0.1)
        assert (at_once.asked, seen.answered, seen.errors) == (120, 120, 0)
        assert 95 <= len(seen.latency_us) <= 101
        slow = loaded(upstream, Ask(post(f"{upstream}/d50/v1/chat/completions", b"{}"), b'"choices"'))
        seen = await slow.at_rate(100, 0.3, warmup_s=0)
        assert seen.errors == 0
        assert min(seen.latency_us) >= 48_000  # the upstream's loop counts whole milliseconds

    asyncio.run(measure())


def test_load_ends_where_nobody_listens() -> None:
    async def measure() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nobody = loaded(f"http://127.0.0.1:{taken.getsockname()[1]}", Ask(b""))
            seen = await nobody.at_once(2, lambda: True)
        assert (seen.answered, seen.errors) == (0, 2)

    asyncio.run(measure())
