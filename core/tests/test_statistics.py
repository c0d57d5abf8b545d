"""Intervals and tests against published examples, and against what they claim in simulation."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from itertools import product

import pytest
from headrace.statistics import Estimate, PairedDifference, mean, paired, percentiles, proportion


def table(both: int, only_b: int, only_a: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Scores of ``a`` and ``b`` with these counts, as a paired 2 x 2 table has them."""
    pairs = [(True, True)] * both + [(False, True)] * only_b + [(True, False)] * only_a + [(False, False)] * neither
    return [a for a, _ in pairs], [b for _, b in pairs]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3."""
    estimate = proportion(successes, n)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)
    assert (estimate.mean, estimate.n) == (successes / n, n)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((20, 12, 2, 16), 0.0562, 0.3292), ((36, 12, 2, 0), 0.0569, 0.3404), ((1, 1, 7, 12), -0.507, -0.026)],
    ids=["newcombe-1998-a", "newcombe-1998-b", "bentur-2009"],
)
def test_newcombe_gives_the_published_intervals(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    """The first two from Newcombe (1998) itself, the third from Fagerland, Lydersen & Laake (2014), Stat Med 33."""
    found = paired(*table(*counts))
    digits = 5e-5 if counts[0] > 1 else 5e-4
    assert (found.low, found.high) == pytest.approx((low, high), abs=digits)
    assert found.difference == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (found.wins, found.losses, found.ties) == (counts[1], counts[2], counts[0] + counts[3])


def test_exact_mcnemar_gives_the_published_p() -> None:
    """Fagerland, Lydersen & Laake (2014): 1 against 7 discordant pairs."""
    assert paired(*table(1, 1, 7, 12)).p_value == pytest.approx(0.0703, abs=5e-5)


def test_sign_flips_find_fishers_p() -> None:
    """Darwin's maize in Fisher (1935), section 21: 863 of 32,768 sign patterns on each side reach the sum."""
    crossed = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    found = paired([0.0] * 15, [float(value) for value in crossed])
    assert found.p_value == pytest.approx(2 * 863 / 32_768, abs=0.006)
    assert found.difference == pytest.approx(314 / 15)
    assert (found.low, found.high) == pytest.approx((0.0315, 41.8352), abs=1e-3)


def test_the_t_interval_is_students() -> None:
    """Student (1908), the extra sleep of ten patients: mean 1.58, 95 % from 0.70 to 2.46."""
    extra = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    estimate = mean(extra)
    assert estimate.mean == pytest.approx(1.58)
    assert (estimate.low, estimate.high) == pytest.approx((0.7001, 2.4599), abs=1e-4)
    assert paired([0.0] * 10, extra).p_value == pytest.approx(1 / 256, abs=0.003)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_wilson_covers_the_truth(share: float) -> None:
    inside = 0.0
    dice = random.Random(11)
    for _ in range(400):
        estimate = proportion(sum(dice.random() < share for _ in range(40)), 40)
        assert estimate.low is not None and estimate.high is not None
        inside += estimate.low <= share <= estimate.high
    assert 0.92 <= inside / 400 <= 0.99


@pytest.mark.parametrize(
    ("drawn", "truth"),
    [
        (lambda dice: (dice.random() < 0.7, dice.random() < 0.8), 0.1),
        (lambda dice: (dice.random() < 0.5, True), 0.5),
        (lambda dice: (same := dice.random() < 0.9, same != (dice.random() < 0.05)), -0.04),
        (lambda dice: (dice.gauss(0, 1), dice.gauss(0.3, 2)), 0.3),
    ],
    ids=["independent", "always-right", "correlated", "numbers"],
)
def test_paired_intervals_cover_the_truth(drawn: Callable[[random.Random], tuple[float, float]], truth: float) -> None:
    dice, inside = random.Random(12), 0
    for _ in range(200):
        a, b = zip(*(drawn(dice) for _ in range(40)), strict=True)
        found = paired(a, b)
        assert found.low is not None and found.high is not None
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 200 <= 1.0


@pytest.mark.parametrize(
    "drawn",
    [lambda dice: dice.random() < 0.6, lambda dice: dice.choice((0.0, 0.5, 1.0))],
    ids=["booleans", "numbers"],
)
def test_equal_variants_are_rarely_called_different(drawn: Callable[[random.Random], float]) -> None:
    dice = random.Random(13)
    p_values = [paired([drawn(dice) for _ in range(30)], [drawn(dice) for _ in range(30)]).p_value for _ in range(200)]
    assert sum(p is not None and p <= 0.05 for p in p_values) / 200 <= 0.08


def test_the_interval_of_a_difference_turns_with_its_sides() -> None:
    for counts in product(range(4), repeat=4):
        if sum(counts):
            a, b = table(*counts)
            one, other = paired(a, b), paired(b, a)
            assert one.low is not None and one.high is not None
            assert -1 <= one.low <= (one.wins - one.losses) / one.n <= one.high <= 1
            assert other.high is not None and other.low is not None
            assert (-other.high, -other.low) == pytest.approx((one.low, one.high))
            assert one.p_value == other.p_value


def test_nothing_measured_is_nothing_said() -> None:
    assert proportion(0, 0) == Estimate(None, None, None, 0, "wilson")
    assert mean([]) == Estimate(None, None, None, 0, "t")
    empty = PairedDifference(None, None, None, 0, 0, 0, 0, None, "newcombe 10, exact mcnemar")
    assert paired([], []) == empty


@pytest.mark.parametrize("values", [[0.5], [0.1] * 7], ids=["one", "all-equal"])
def test_a_mean_without_spread_has_no_bounds(values: list[float]) -> None:
    estimate = mean(values)
    assert estimate.mean == pytest.approx(values[0])
    assert (estimate.low, estimate.high) == (None, None)
    found = paired([0.0] * len(values), values)
    assert (found.low, found.high, found.wins) == (None, None, len(values))
    assert found.p_value is not None and found.p_value == pytest.approx(2 ** (1 - len(values)), abs=0.01)


def test_scores_that_are_all_equal_are_no_difference() -> None:
    found = paired([0.25] * 5, [0.25] * 5)
    assert (found.difference, found.low, found.high, found.ties, found.p_value) == (0, None, None, 5, 1.0)
    agreed = paired([True] * 5, [True] * 5)
    assert (agreed.difference, agreed.p_value) == (0, 1.0)
    assert agreed.low is not None and agreed.low < 0


def test_the_same_seed_gives_the_same_p() -> None:
    dice = random.Random(14)
    a, b = ([dice.random() for _ in range(25)] for _ in range(2))
    assert paired(a, b, seed=3) == paired(a, b, seed=3)
    assert paired(a, b, seed=3).p_value != paired(a, b, seed=4).p_value


def test_scores_of_different_datapoints_are_refused() -> None:
    with pytest.raises(ValueError, match="2 on one side, 1 on the other"):
        paired([True, False], [True])


def test_percentiles_lie_between_the_values() -> None:
    assert percentiles([4, 1, 3, 2], [0, 50, 90, 100]) == pytest.approx([1, 2.5, 3.7, 4])
    assert percentiles([7], [50, 99]) == [7, 7]
    assert percentiles([], [50, 90, 99]) == [None, None, None]


def test_without_scipy_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from headrace.errors import HeadraceError\n"
        "from headrace.statistics import percentiles, proportion\n"
        "print(percentiles([1, 2], [50]))\n"
        "try: proportion(1, 2)\n"
        "except HeadraceError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        "[1.5]",
        'statistics need scipy.stats, which is missing: pip install "headrace[evaluation]"',
    ]
