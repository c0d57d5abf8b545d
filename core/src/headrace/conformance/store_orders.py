"""What every store promises of orders, of search and of episodes."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ..filters import ByMetric, ByRelevance, ByTime, Order
from ..queries import DatapointQuery, EpisodeQuery, EpisodeSummary, InferenceQuery
from ..records import Record
from ..storage import Store
from ..types import Input, InputMessage, JsonOutput, Text
from .rows import at, boolean, datapoint, inference, number, uid
from .store_promises import StorePromises, answers, ids_of, numbers_of, shuffled
from .suite import needs

MEASURED: tuple[Record, ...] = (
    inference(1, episode_id=uid(90)),
    inference(2, episode_id=uid(91)),
    inference(3, episode_id=uid(90)),
    inference(4, episode_id=uid(92)),
    inference(5, episode_id=uid(92)),
    inference(6, episode_id=uid(92), function_name="g"),
    number(11, uid(1), 2.0),
    number(12, uid(2), -1.0),
    number(13, uid(3), 9.0),
    number(14, uid(3), 2.0),
    number(15, uid(6), 0.0),
    boolean(21, uid(1), value=False),
    boolean(22, uid(2)),
    boolean(23, uid(4)),
    boolean(24, uid(5)),
    boolean(25, uid(5), value=False),
    number(31, uid(90), 1.0),
    number(32, uid(92), 5.0),
    boolean(41, uid(91)),
)
STARS, LEAST = ByMetric("stars", "inference", "float"), ByMetric("stars", "inference", "float", "ascending")
GOOD, BAD = ByMetric("good", "inference", "boolean"), ByMetric("good", "inference", "boolean", "ascending")
ORDERS: Mapping[str, tuple[tuple[Order, ...], list[int]]] = {
    "greatest first, the unknown last": ((STARS,), [3, 1, 6, 2, 5, 4]),
    "least first, the unknown last": ((LEAST,), [2, 6, 1, 3, 4, 5]),
    "yes first": ((GOOD,), [4, 2, 5, 1, 6, 3]),
    "no first": ((BAD,), [1, 5, 2, 4, 3, 6]),
    "by the episode's value": ((ByMetric("stars", "episode", "float"),), [6, 5, 4, 3, 1, 2]),
    "by the episode's yes": ((ByMetric("good", "episode", "boolean", "ascending"),), [2, 1, 3, 4, 5, 6]),
    "a metric that nobody has": ((ByMetric("unknown", "inference", "float"),), [6, 5, 4, 3, 2, 1]),
    "a name of the other type": ((ByMetric("good", "inference", "float", "ascending"),), [1, 2, 3, 4, 5, 6]),
    "a name that is a statement": ((ByMetric("x' OR '1'='1", "inference", "float"),), [6, 5, 4, 3, 2, 1]),
    "two metrics": ((GOOD, LEAST), [2, 4, 1, 5, 6, 3]),
    "two metrics, the other way": ((STARS, BAD), [1, 3, 6, 2, 5, 4]),
    "a metric, then the time": ((STARS, ByTime("ascending")), [1, 3, 6, 2, 4, 5]),
    "the time, then a metric": ((ByTime("ascending"), STARS), [1, 2, 3, 4, 5, 6]),
    "the same twice": ((STARS, STARS), [3, 1, 6, 2, 5, 4]),
}


def saying(n: int, said: str, answered: str, **changes: object) -> Record:
    """An inference with a text in its input and one in its output."""
    talk = Input((InputMessage("user", (Text(said),)),))
    return inference(n, input=talk, output=(Text(answered),), **changes)


SPOKEN: tuple[Record, ...] = (
    saying(1, "An apple a day", "keeps apples away, APPLE!"),
    saying(2, "nothing", "an Apple"),
    inference(3, input=Input((), {"who": "aPPle"}), function_type="json", output=JsonOutput('{"a":"\\"apple\\""}')),
    saying(4, '100% of "it_s" C:\\dir', "line\nbreak\ttab \x01 \x00."),
    saying(5, "Gr\u00f6\u00dfe \U0001f600 e\u0301", "aaaa"),
    inference(6),
    inference(7, input=None, output=None),
)
# What occurs only where one text ends and another begins is in neither.
SEARCHES: Mapping[str, tuple[str, list[int]]] = {
    "a word, whatever its case": ("apple", [3, 2, 1]),
    "a word in other letters": ("APPLE", [3, 2, 1]),
    "of the input": ("a day", [1]),
    "of the output": ("away, a", [1]),
    "not across": ("daykeeps", []),
    "not from the input into the output": ("}]}[{", []),
    "percent": ("100%", [4]),
    "percent is no pattern": ("1%0", []),
    "underscore": ("it_s", [4]),
    "underscore is no pattern": ("an_apple", []),
    "star and question mark are no patterns": ("a*e?", []),
    "a dot is no pattern": ("app.e", []),
    "backslash": ("c:\\dir", [4]),
    "one backslash is escaped": ("\\n", []),
    "quotes": ('"it_s"', [4]),
    "quotes within JSON in JSON": ('\\"apple\\"', [3]),
    "a line break": ("line\nbreak", [4]),
    "a tab and a control character": ("\ttab \x01", [4]),
    "NUL": ("\x00.", [4]),
    "umlauts": ("Gr\u00f6\u00dfe", [5]),
    "emoji": ("\U0001f600", [5]),
    "a combining character": ("e\u0301", [5]),
    "another form of it": ("\u00e9", []),
    "keys of the JSON": ("messages", [5, 4, 2, 1]),
    "quotes of the JSON itself": ('type":"text', []),
    "a value of the JSON": ("null", [3]),
    "a statement": ("' OR '1'='1", []),
    "a long text": ("apple" * 10_000, []),
    "nothing selects all": ("", [7, 6, 5, 4, 3, 2, 1]),
}
RELEVANCE: Mapping[str, tuple[InferenceQuery, list[int]]] = {
    "most often first": (InferenceQuery(search="apple", order_by=(ByRelevance(),)), [1, 3, 2]),
    "most often last": (InferenceQuery(search="apple", order_by=(ByRelevance("ascending"),)), [2, 3, 1]),
    "without overlap": (InferenceQuery(search="aa", order_by=(ByRelevance(),)), [5]),
    "then oldest first": (InferenceQuery(search="an", order_by=(ByRelevance(), ByTime("ascending"))), [1, 2]),
    "a page": (InferenceQuery(search="apple", order_by=(ByRelevance(),), limit=1, offset=1), [3]),
}


class OrderPromises(StorePromises):
    """Orders, search and episodes."""

    async def test_orders_inferences(self, store: Store) -> None:
        async def ordered(case: tuple[tuple[Order, ...], list[int]]) -> tuple[list[int], list[int], list[int]]:
            none: dict[str, Any] = {}
            every, page, of_one = [
                numbers_of(await store.inferences(InferenceQuery(order_by=case[0], **more)))
                for more in (none, {"limit": 3, "offset": 2}, {"function_name": "f"})
            ]
            return every, page, of_one

        await store.write(shuffled(MEASURED))
        assert await answers(ORDERS, ordered) == {
            name: (numbers, numbers[2:5], [n for n in numbers if n != 6]) for name, (_, numbers) in ORDERS.items()
        }

    # -- search -------------------------------------------------------------------------------------------

    async def test_searches_input_and_output(self, store: Store) -> None:
        async def found(case: tuple[str, list[int]]) -> tuple[list[int], int]:
            query = InferenceQuery(search=case[0])
            return numbers_of(await store.inferences(query)), await store.count_inferences(query)

        await store.write(shuffled(SPOKEN))
        assert await answers(SEARCHES, found) == {
            name: (numbers, len(numbers)) for name, (_, numbers) in SEARCHES.items()
        }

    async def test_orders_by_relevance(self, store: Store) -> None:
        async def found(case: tuple[InferenceQuery, list[int]]) -> list[int]:
            return numbers_of(await store.inferences(case[0]))

        await store.write(shuffled(SPOKEN))
        expected = {name: numbers for name, (_, numbers) in RELEVANCE.items()}
        assert await answers(RELEVANCE, found) == expected

    async def test_counts_occurrences_without_overlap(self, store: Store) -> None:
        written = [saying(n, "-" * n, "") for n in (2, 3, 4, 5)] + [saying(6, "--", "--.--.--")]
        await store.write(written)
        query = InferenceQuery(search="--", order_by=(ByRelevance(), ByTime("ascending")))
        assert ids_of(await store.inferences(query)) == [uid(n) for n in (6, 4, 5, 2, 3)]

    @needs("case beyond ASCII")
    async def test_searches_whatever_the_case_of_letters_beyond_ascii(self, store: Store) -> None:
        await store.write([saying(1, "GR\u00d6\u00dfE \u0391\u0392", ""), saying(2, "", "\u0416")])
        for search, expected in (("gr\u00f6\u00df", 1), ("\u03b1\u03b2", 1), ("\u0436", 2)):
            assert ids_of(await store.inferences(InferenceQuery(search=search))) == [uid(expected)]

    async def test_searches_datapoints(self, store: Store) -> None:
        talk = Input((InputMessage("user", (Text("An apple, APPLE"),)),))
        await store.write(
            [
                datapoint(1, input=talk),
                datapoint(2, output=(Text("an Apple"),), updated_at=at(9)),
                datapoint(3, name="apple", tags={"apple": "apple"}),
                datapoint(4, input=talk, staled_at=at(5)),
            ]
        )
        assert ids_of(await store.datapoints(DatapointQuery(search="apple"))) == [uid(2), uid(1)]
        assert await store.count_datapoints(DatapointQuery(search="apple")) == 2
        relevant = DatapointQuery(search="apple", order_by=(ByRelevance(),))
        assert ids_of(await store.datapoints(relevant)) == [uid(1), uid(2)]
        relevant = DatapointQuery(search="AN AP", order_by=(ByRelevance("ascending"),))
        assert ids_of(await store.datapoints(relevant)) == [uid(1), uid(2)]
        relevant = DatapointQuery(search="an ap", order_by=(ByRelevance(), ByTime()))
        assert ids_of(await store.datapoints(relevant)) == [uid(2), uid(1)]

    # -- episodes -----------------------------------------------------------------------------------------

    async def test_sums_episodes_up(self, store: Store) -> None:
        written = [inference(n, episode_id=uid(90 + n % 3)) for n in range(1, 8)]
        await store.write([*shuffled(written), boolean(50, uid(99))])
        expected = [
            EpisodeSummary(
                episode_id=uid(90 + rest),
                count=len(ns),
                start_time=_instant(uid(ns[0])),
                end_time=_instant(uid(ns[-1])),
                last_inference_id=uid(ns[-1]),
            )
            for rest, ns in ((2, [2, 5]), (1, [1, 4, 7]), (0, [3, 6]))
        ]
        assert await store.episodes(EpisodeQuery()) == expected
        assert await store.episodes(EpisodeQuery(limit=1)) == expected[:1]
        assert await store.episodes(EpisodeQuery(limit=None)) == expected
        assert await store.episodes(EpisodeQuery(limit=0)) == []
        assert await store.count_episodes() == 3

    async def test_pages_through_episodes(self, store: Store) -> None:
        # The order is that of the episodes, which need not be that of their inferences.
        await store.write([inference(n, episode_id=uid(200 - n)) for n in range(100, 110)])

        async def page(query: EpisodeQuery) -> list[UUID]:
            return [each.episode_id for each in await store.episodes(query)]

        every = [uid(n) for n in range(100, 90, -1)]
        assert await page(EpisodeQuery()) == every
        assert await page(EpisodeQuery(before=every[3], limit=2)) == every[4:6]
        assert await page(EpisodeQuery(after=every[3], limit=2)) == every[1:3]
        assert await page(EpisodeQuery(after=every[3], limit=None)) == every[:3]
        assert await page(EpisodeQuery(after=every[0])) == await page(EpisodeQuery(before=every[-1])) == []

    async def test_sums_an_episode_up_over_all_its_inferences(self, store: Store) -> None:
        await store.write([inference(n, episode_id=uid(90), function_name="fgh"[n]) for n in range(3)])
        for name in "fgh":
            found = await store.episodes(EpisodeQuery(function_name=name))
            assert [(each.count, each.last_inference_id) for each in found] == [(3, uid(2))]
        assert await store.episodes(EpisodeQuery(function_name="F")) == []

    async def test_has_no_episodes_when_it_is_empty(self, store: Store) -> None:
        assert await store.episodes(EpisodeQuery()) == []
        assert await store.count_episodes() == 0


def _instant(id_: UUID) -> datetime:
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
