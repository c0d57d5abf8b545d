"""Draws: the same for one episode, in the proportions of the weights, and with the probability they claim."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import sqrt
from random import Random
from uuid import UUID

import pytest
from headrace.experiments import Draw, Experiment, point

EPISODE = UUID("0190c3a0-0000-7000-8000-000000000001")
ROUNDS = 20_000


def episodes(count: int) -> list[UUID]:
    rng = Random(7)
    return [UUID(int=rng.getrandbits(128)) for _ in range(count)]


def sequence(draw: Draw) -> list[tuple[str, float]]:
    """Every draw until there is no more."""
    drawn = []
    while (each := draw.next()) is not None:
        drawn.append(each)
    return drawn


# -- the number -------------------------------------------------------------------------------------------


def test_the_number_is_the_specified_hash() -> None:
    # sha256sum of "f" and the episode's 16 bytes, asked of another program: 1641a8103cec3ccf...
    assert point("f", EPISODE) == 0x1641A810 / 2**32 == 0.08693933859467506


def test_the_number_depends_on_function_and_episode() -> None:
    other = UUID(int=EPISODE.int + 1)
    assert len({point(name, id_) for name, id_ in product(("f", "g", "ü"), (EPISODE, other))}) == 6


def test_the_number_is_uniform() -> None:
    counts = Counter(int(point("f", id_) * 10) for id_ in episodes(ROUNDS))
    assert all(abs(counts[tenth] - ROUNDS / 10) < 5 * sqrt(ROUNDS * 0.09) for tenth in range(10))


# -- one draw ---------------------------------------------------------------------------------------------


def test_without_weights_the_names_share_the_interval_in_order() -> None:
    """The specification's default rule: index floor(u * n) of the sorted names."""
    names = ["b", "a", "d", "c", "Z", "ä"]
    experiment = Experiment(dict.fromkeys(names, 1.0))
    for id_ in episodes(500):
        [(name, probability), *_] = sequence(experiment.draw("f", id_))
        assert name == sorted(names)[int(point("f", id_) * 6)]
        assert probability == pytest.approx(1 / 6)


def test_with_weights_the_first_cumulative_beyond_the_point_is_drawn() -> None:
    experiment = Experiment({"c": 3.0, "a": 1.0, "b": 0.0, "d": 4.0})
    for id_ in episodes(500):
        u = point("f", id_)
        name = "a" if u < 1 / 8 else "c" if u < 4 / 8 else "d"
        assert experiment.draw("f", id_).next() == (name, experiment.probabilities()[name])


def test_an_episode_draws_the_same_again() -> None:
    experiment = Experiment({"a": 1.0, "b": 2.0, "c": 3.0}, ["d"])
    for id_ in episodes(50):
        assert sequence(experiment.draw("f", id_)) == sequence(experiment.draw("f", id_))


@pytest.mark.parametrize(
    "weights",
    [{"a": 1.0}, {"a": 0.9, "b": 0.1}, {"a": 1.0, "b": 0.0}, {"a": 1e-9, "b": 1e9}, dict.fromkeys("abcdefg", 0.1)],
    ids=["one", "two", "zero", "far-apart", "seven"],
)
def test_the_probabilities_of_the_first_draw_sum_to_one(weights: dict[str, float]) -> None:
    probabilities = Experiment(weights, ["z"]).probabilities()
    assert sum(probabilities.values()) == pytest.approx(1)
    assert probabilities["z"] == 0
    total = sum(weights.values())
    assert all(probabilities[name] == pytest.approx(weight / total) for name, weight in weights.items())


# -- sequences --------------------------------------------------------------------------------------------

EXPERIMENTS = {
    "uniform": Experiment(dict.fromkeys("abc", 1.0)),
    "weights": Experiment({"a": 0.6, "b": 0.3, "c": 0.1}),
    "fallbacks": Experiment({"a": 2.0, "b": 1.0}, ["y", "x"]),
    "zero": Experiment({"a": 1.0, "b": 0.0, "c": 0.0}, ["x"]),
    "only-fallbacks": Experiment({}, ["y", "x"]),
    "last-resort": Experiment({"a": 0.0, "b": 0.0, "c": 1.0}),
    "uneven": Experiment({"a": 0.5, "b": 0.2, "c": 0.17, "d": 0.13}, ["x"]),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_sequence_comes_as_often_as_it_says(experiment: Experiment) -> None:
    """What off-policy estimates rest on: over episodes, a sequence of draws has the probability it states."""
    counts: Counter[tuple[str, ...]] = Counter()
    stated: dict[tuple[str, ...], float] = {}
    for id_ in episodes(ROUNDS):
        names: tuple[str, ...] = ()
        for name, probability in sequence(experiment.draw("f", id_)):
            names = (*names, name)
            counts[names] += 1
            assert stated.setdefault(names, probability) == probability
            assert 0 < probability <= 1
    for names, probability in stated.items():
        spread = sqrt(ROUNDS * probability * (1 - probability))
        assert abs(counts[names] - ROUNDS * probability) <= 5 * spread + 1e-6, names


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_variant_comes_once(experiment: Experiment) -> None:
    everything = sorted({*experiment.weights, *experiment.fallbacks})
    for id_ in episodes(100):
        assert sorted(name for name, _ in sequence(experiment.draw("f", id_))) == everything


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_first_draws_come_with_the_stated_probabilities(experiment: Experiment) -> None:
    drawn = {first for id_ in episodes(2000) if (first := experiment.draw("f", id_).next())}
    assert sum(probability for _, probability in drawn) == pytest.approx(1)


def test_fallbacks_come_in_order_after_the_candidates() -> None:
    for id_ in episodes(50):
        assert [name for name, _ in sequence(EXPERIMENTS["fallbacks"].draw("f", id_))][2:] == ["y", "x"]


def test_without_candidates_the_first_fallback_is_certain() -> None:
    assert EXPERIMENTS["only-fallbacks"].draw("f", EPISODE).next() == ("y", 1.0)
    assert EXPERIMENTS["only-fallbacks"].probabilities() == {"y": 1.0, "x": 0.0}


def test_weight_zero_comes_last_of_all() -> None:
    for id_ in episodes(50):
        names = [name for name, _ in sequence(EXPERIMENTS["zero"].draw("f", id_))]
        assert names[:2] == ["a", "x"]
        assert sorted(names[2:]) == ["b", "c"]


def test_a_redraw_uses_the_same_number_over_the_rest() -> None:
    experiment = Experiment(dict.fromkeys("abcd", 1.0))
    for id_ in episodes(200):
        u, rest = point("f", id_), list("abcd")
        for name, _ in sequence(experiment.draw("f", id_)):
            assert name == rest.pop(int(u * len(rest)))


@pytest.mark.parametrize(
    ("weights", "bound"),
    [
        ({"a": 3, "b": 0.05, "c": 0.4, "d": 1, "e": 0.15}, 0.75),
        ({"a": 0.1, "b": 0.05, "c": 0.3, "d": 0.05, "e": 0.1}, 0.75),
    ],
    ids=["nothing-left", "less-than-nothing"],
)
def test_what_happened_had_a_chance_even_on_a_bound(weights: dict[str, float], bound: float) -> None:
    """An estimate divides by it."""
    drawn = sequence(Draw(weights, ["x"], bound))
    assert len(drawn) == 6
    assert all(0 < probability <= 1 for _, probability in drawn)


def test_nothing_to_draw_from_is_the_end() -> None:
    assert Experiment({}).draw("f", EPISODE).next() is None
    assert Experiment({}).probabilities() == {}
