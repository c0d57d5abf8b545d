"""Rate limits of a gateway: what passes, what is told to who does not, and what is settled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest
from anyio import wait_all_tasks_blocked
from headrace.conformance.script import SetClock
from headrace.contracts import Attempt, Bucket
from headrace.costs import Price, Rates
from headrace.errors import AllProvidersFailed, StoreError
from headrace.http.app import create_app
from headrace.limiting import Limiter
from headrace.limits import Limit, Rule, Rules
from headrace.models import RoutedEmbeddingModel, RoutedModel
from headrace.routes import Around, Route
from headrace.types import (
    Caller,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    Message,
    ModelRequest,
    ModelResponse,
    Params,
    Text,
    TextDelta,
    Usage,
)
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from recipes import function, model

pytestmark = pytest.mark.anyio

HELLO = {"messages": [{"role": "user", "content": "hello!"}]}
ASK = {"function_name": "f", "input": HELLO}
RULE = "[[rate_limiting.rules]]\nalways = true\n"
EACH_USER = 'scope = [{ tag_key = "user_id", tag_value = "tensorzero::each" }]\n'


SEVEN = Usage(input_tokens=3, output_tokens=4)


class Upstream:
    """Answers, or fails, and says what it used."""

    def __init__(self, usage: Usage = SEVEN, *, fails: bool = False) -> None:
        self.usage = usage
        self.fails = fails
        self.calls = 0

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self._called()
        return ModelResponse(output=(Text("hi"),), usage=self.usage, raw_response='{"tokens": 7}')

    async def stream(self, request: ModelRequest) -> Any:
        self._called()
        yield Chunk(content=(TextDelta("0", "hi"),), raw_request="asked")
        yield Chunk(content=(TextDelta("0", "hi"),), usage=self.usage, raw='{"tokens": 7}')

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        self._called()
        return EmbeddingResponse(embeddings=((1.0,),), usage=self.usage)

    def _called(self) -> None:
        self.calls += 1
        if self.fails:
            raise StoreError("down")


class Watched(Memory):
    """Buckets in memory that remember what was asked of them; they fail while ``is_away``."""

    def __init__(self) -> None:
        super().__init__(MemorySettings())
        self.taken: list[list[int]] = []
        self.settled: list[tuple[str, int]] = []
        self.is_away = False

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        if self.is_away:
            raise StoreError("memory: cannot use a bucket")
        self.taken.append([units for _, units in wanted])
        return await super().take(wanted)

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        if self.is_away:
            raise StoreError("memory: cannot use a bucket")
        self.settled += [(bucket.key, change) for bucket, change in changes]
        await super().settle(changes)


@asynccontextmanager
async def limited(buckets: Watched, *limits: Limit) -> AsyncIterator[Around]:
    """What models share, with these limits; on leaving, all is settled."""
    rules = Rules([Rule(limits)])
    async with Limiter(rules, buckets, default_cost=2) as limiter:
        yield Around(SetClock(), limiter=limiter)


def request(max_tokens: int | None = 10) -> ModelRequest:
    return ModelRequest(messages=(Message("user", (Text("12345678"),)),), params=Params(max_tokens=max_tokens))


def limit(resource: Any, capacity: int = 1000) -> Limit:
    return Limit(resource, "month", capacity, capacity)


async def streamed(model: RoutedModel, asked: ModelRequest, attempts: list[Attempt], *, until: int = 9) -> None:
    chunks = model.stream(asked, attempts)
    async for _ in chunks:
        until -= 1
        if not until:
            break
    await chunks.aclose()


COMPLETE = pytest.mark.parametrize("how", ["complete", "stream"])


async def call(how: str, model: RoutedModel, asked: ModelRequest) -> list[Attempt]:
    attempts: list[Attempt] = []
    await (model.complete(asked, attempts) if how == "complete" else streamed(model, asked, attempts))
    return attempts


# -- what is taken, and settled --------------------------------------------------------------------------------


@COMPLETE
async def test_takes_an_estimate_before_the_call_and_settles_with_what_it_used(how: str) -> None:
    buckets, upstream = Watched(), Upstream()
    price = Rates([Price("/tokens", "/tokens", Decimal("0.1"))])
    async with limited(buckets, limit("tokens"), limit("model_inferences"), limit("cost", 10**10)) as around:
        await call(how, RoutedModel("m", [Route("p", "t", upstream, price)], around), request())
        assert buckets.taken == [[14, 1, 2 * 10**9]]
    assert dict(buckets.settled) == {
        '{"resource":"token","scope_key":[]}': 7,
        '{"resource":"cost","scope_key":[]}': 2 * 10**9 - 700_000_000,
    }


@COMPLETE
async def test_charges_what_a_call_used_beyond_its_estimate(how: str) -> None:
    buckets = Watched()
    async with limited(buckets, limit("tokens", 20)) as around:
        upstream = Upstream(Usage(input_tokens=30, output_tokens=5))
        model = RoutedModel("m", [Route("p", "t", upstream)], around)
        await call(how, model, request())
    async with limited(buckets, limit("tokens", 20)) as around:
        with pytest.raises(AllProvidersFailed, match="Requested: 14\nAvailable: 0"):
            await call(how, RoutedModel("m", [Route("p", "t", upstream)], around), request())
    assert buckets.settled == [('{"resource":"token","scope_key":[]}', -21)]
    assert upstream.calls == 1


@COMPLETE
@pytest.mark.parametrize(
    ("usage", "settled"),
    [
        (Usage(), []),
        (Usage(input_tokens=3), []),
        (Usage(input_tokens=20), [-6]),
        (Usage(output_tokens=20), [-6]),
    ],
    ids=["none", "some", "more-in", "more-out"],
)
async def test_gives_nothing_back_where_the_upstream_did_not_say_all(
    how: str, usage: Usage, settled: list[int]
) -> None:
    buckets = Watched()
    async with limited(buckets, limit("tokens"), limit("cost", 10**10)) as around:
        await call(how, RoutedModel("m", [Route("p", "t", Upstream(usage))], around), request())
    assert [change for _, change in buckets.settled] == settled


async def test_gives_nothing_back_for_a_stream_that_was_not_read_to_its_end() -> None:
    buckets = Watched()
    async with limited(buckets, limit("tokens")) as around:
        await streamed(RoutedModel("m", [Route("p", "t", Upstream())], around), request(), [], until=1)
        await streamed(RoutedModel("m", [Route("p", "t", Upstream())], around), request(), [], until=2)
    assert (len(buckets.taken), buckets.settled) == (2, [])


@COMPLETE
async def test_http_edge_19_a_call_that_failed_has_used_up_its_limit_and_each_provider_takes_anew(how: str) -> None:
    buckets, good = Watched(), Upstream()
    async with limited(buckets, limit("tokens")) as around:
        routes = [Route("bad", "t", Upstream(fails=True)), Route("good", "t", good)]
        await call(how, RoutedModel("m", routes, around), request())
    assert buckets.taken == [[14], [14]]
    assert [change for _, change in buckets.settled] == [7]


@COMPLETE
async def test_a_provider_is_not_asked_where_a_limit_is_exceeded_and_the_next_one_is_tried(how: str) -> None:
    buckets, upstreams = Watched(), [Upstream(), Upstream()]
    async with limited(buckets, limit("model_inferences", 0)) as around:
        model = RoutedModel("m", [Route(str(n), "t", each) for n, each in enumerate(upstreams)], around)
        with pytest.raises(AllProvidersFailed) as caught:
            await call(how, model, request())
    assert (caught.value.http_status, len(buckets.taken)) == (429, 2)
    assert [each.calls for each in upstreams] == [0, 0]


@COMPLETE
async def test_a_backend_that_is_away_lets_nobody_pass(how: str, caplog: pytest.LogCaptureFixture) -> None:
    buckets, upstream = Watched(), Upstream()
    async with limited(buckets, limit("tokens")) as around:
        model = RoutedModel("m", [Route("p", "t", upstream)], around)
        buckets.is_away = True
        with pytest.raises(AllProvidersFailed, match="cannot use a bucket"):
            await call(how, model, request())
        assert upstream.calls == 0
        buckets.is_away = False
        await call(how, model, request())
        buckets.is_away = True
    assert "their estimates stand: memory: cannot use a bucket" in caplog.text


@COMPLETE
async def test_http_edge_20_with_a_limit_on_tokens_a_call_without_max_tokens_fails_at_every_provider(how: str) -> None:
    buckets = Watched()
    async with limited(buckets, limit("tokens")) as around:
        model = RoutedModel("m", [Route("p", "t", Upstream()), Route("q", "t", Upstream())], around)
        with pytest.raises(AllProvidersFailed) as caught:
            await call(how, model, request(max_tokens=None))
    said = "Missing max_tokens for request subject to rate limiting rules."
    assert [str(error) for error in caught.value.errors.values()] == [said, said]
    assert buckets.taken == []


async def test_embeddings_take_their_input_and_settle_it() -> None:
    buckets = Watched()
    async with limited(buckets, limit("tokens"), limit("model_inferences")) as around:
        upstream = Upstream(Usage(input_tokens=3))
        model = RoutedEmbeddingModel("m", [Route("p", "t", upstream)], around)
        await model.embed(EmbeddingRequest(input="x" * 20, caller=Caller({"user_id": "ann"})), [])
    assert buckets.taken == [[10, 1]]
    assert [change for _, change in buckets.settled] == [7]


async def test_settles_many_calls_of_one_bucket_together() -> None:
    buckets = Watched()
    async with limited(buckets, limit("tokens")) as around:
        model = RoutedModel("m", [Route("p", "t", Upstream())], around)
        for _ in range(20):
            await model.complete(request(), [])
    assert sum(change for _, change in buckets.settled) == 20 * 7
    assert len(buckets.settled) < 20


# -- through the gateway --------------------------------------------------------------------------------------


@pytest.fixture
def serving(opened: Any) -> Callable[..., Any]:
    """``async with serving(toml) as http``: a client of a gateway with this configuration."""

    @asynccontextmanager
    async def serve(toml: str, **stand_ins: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with opened(toml, **stand_ins) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http

    return serve


async def test_each_user_has_a_limit_and_is_told_of_it(serving: Any) -> None:
    toml = model() + function() + RULE + EACH_USER + "model_inferences_per_minute = 2\n"
    async with serving(toml, clock=(clock := SetClock())) as http:
        statuses = {
            user: [
                (await http.post("/inference", json={**ASK, "tags": {"user_id": user}})).status_code for _ in range(3)
            ]
            for user in ("ann", "bob")
        }
        assert statuses == {"ann": [200, 200, 429], "bob": [200, 200, 429]}
        assert [(await http.post("/inference", json=ASK)).status_code for _ in range(4)] == [200] * 4
        reply = await http.post("/inference", json={**ASK, "tags": {"user_id": "ann"}})
        assert reply.json()["error"] == (
            "All variants failed with errors: v: All model providers failed to infer with errors: p: "
            "TensorZero rate limit exceeded for `model_inference` resource.\n"
            'Scope: tag_key="user_id", tag_value="tensorzero::each" (matched: "ann")\n'
            "Requested: 1\nAvailable: 0"
        )
        clock.advance(60)
        assert (await http.post("/inference", json={**ASK, "tags": {"user_id": "ann"}})).status_code == 200


async def test_tells_of_every_limit_that_is_exceeded(serving: Any) -> None:
    toml = model() + function(more="max_tokens = 5\n") + RULE + "tokens_per_day = 3\nmodel_inferences_per_day = 0\n"
    async with serving(toml + "cost_per_day = 5\n") as http:
        error = (await http.post("/inference", json=ASK)).json()["error"]
    assert error.endswith(
        "TensorZero rate limits exceeded for 2 rules:\n"
        "- Resource: `token`\n    ├ Scope: \n    ├ Requested: 8\n    └ Available: 3\n"
        "- Resource: `model_inference`\n    ├ Scope: \n    ├ Requested: 1\n    └ Available: 0"
    )


async def test_a_limit_is_not_worth_a_retry(serving: Any) -> None:
    toml = model() + function(more="retries = { num_retries = 3 }\n") + RULE + "model_inferences_per_day = 0\n"
    async with serving(toml) as http:
        reply = await http.post("/inference", json=ASK)
    assert reply.status_code == 429
    assert "retries" not in reply.json()["error"]


async def test_http_edge_21_the_text_tells_cost_in_nano_dollars(serving: Any) -> None:
    toml = model() + function() + "[rate_limiting]\ndefault_cost = 0.5\n" + RULE + "cost_per_day = 0.25\n"
    async with serving(toml) as http:
        error = (await http.post("/inference", json=ASK)).json()["error"]
    assert error.endswith("`cost` resource.\nScope: \nRequested: 500000000\nAvailable: 250000000")


async def test_http_edge_21_the_error_itself_has_dollars() -> None:
    buckets = Watched()
    async with limited(buckets, limit("cost", 250_000_000)) as around:
        with pytest.raises(AllProvidersFailed) as caught:
            await RoutedModel("m", [Route("p", "t", Upstream())], around).complete(request(), [])
    [error] = caught.value.errors.values()
    assert error.limits == (  # type: ignore[attr-defined]
        {
            "key": '{"resource":"cost","scope_key":[]}',
            "requested": 2.0,
            "available": 0.25,
            "resource": "cost",
            "scope_key": [],
        },
    )


async def test_http_edge_26_a_dry_run_uses_up_limits(serving: Any) -> None:
    toml = model() + function() + RULE + "model_inferences_per_day = 1\n"
    async with serving(toml) as http:
        replies = [(await http.post("/inference", json={**ASK, "dryrun": True})).status_code for _ in range(2)]
    assert replies == [200, 429]


async def test_an_answer_from_the_cache_uses_up_nothing(serving: Any) -> None:
    toml = model() + function() + RULE + "model_inferences_per_day = 1\n"
    cached = {**ASK, "cache_options": {"enabled": "on"}}
    async with serving(toml) as http:
        for _ in range(3):
            assert (await http.post("/inference", json=cached)).status_code == 200
            await wait_all_tasks_blocked()


async def test_a_stream_is_limited_before_it_begins(serving: Any) -> None:
    toml = model() + function() + RULE + "model_inferences_per_day = 1\n"
    async with serving(toml) as http:
        replies = [await http.post("/inference", json={**ASK, "stream": True}) for _ in range(2)]
    assert replies[0].text.endswith("data: [DONE]\n\n")
    assert replies[1].status_code == 429


async def test_real_cost_is_settled(serving: Any) -> None:
    """TensorZero never does: each of its calls costs ``default_cost``."""
    provider = '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\ntype = "dummy"\nmodel_name = "json"\n'
    cost = "cost = [{ pointer = '/usage/prompt_tokens', cost_per_unit = 0.01 }]\n"
    toml = provider + cost + function() + RULE + "cost_per_day = 1.5\n"
    async with serving(toml) as http:
        statuses = []
        for _ in range(8):  # 10 tokens each, so 0.10 dollars; while one is under way, 1.00
            statuses.append((await http.post("/inference", json=ASK)).status_code)
            await wait_all_tasks_blocked()
    assert statuses == [200] * 6 + [429] * 2
