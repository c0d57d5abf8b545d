"""Figures over HTTP: of functions, variants and models, by period, of the latest feedback."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
from headrace.http.app import create_app
from headrace.ids import new_id
from headrace.records import (
    BooleanFeedback,
    DemonstrationFeedback,
    FloatFeedback,
    InferenceRecord,
    ModelInferenceRecord,
)
from headrace.types import Input, InputMessage, Text
from recipes import function, model

pytestmark = pytest.mark.anyio

METRICS = """
[metrics.good]
type = "boolean"
level = "inference"
optimize = "max"
[metrics.cost]
type = "float"
level = "inference"
optimize = "min"
[metrics.mood]
type = "float"
level = "episode"
optimize = "max"
"""
TOML = model() + function("a=m", "b=m") + METRICS
NOW = datetime(2026, 5, 6, 12, 30, tzinfo=UTC)  # a Wednesday


class Settable:
    """A clock that stands at noon of a day in May."""

    def time(self) -> float:
        return NOW.timestamp()

    def perf(self) -> float:
        return 0.0


def at(day: int, hour: int = 12, *, number: int = 0) -> UUID:
    """An id of that hour of May 2026."""
    ms = int(datetime(2026, 5, day, hour, tzinfo=UTC).timestamp() * 1000)
    return UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | number)


def inference(id_: UUID, variant: str, *, episode: UUID | None = None, ms: int | None = None) -> InferenceRecord:
    return InferenceRecord(
        id=id_,
        function_name="f",
        variant_name=variant,
        function_type="chat",
        episode_id=episode or id_,
        input=Input((InputMessage("user", (Text("hi"),)),)),
        output=(Text("x"),),
        variant_probability=0.5,
        snapshot_hash="1",
        processing_time_ms=ms,
    )


def call(of: InferenceRecord, number: int, **fields: Any) -> ModelInferenceRecord:
    return ModelInferenceRecord(
        id=UUID(int=of.id.int + 1000 + number),
        inference_id=of.id,
        function_name="f",
        variant_name=of.variant_name,
        model_name="m",
        model_provider_name="p",
        snapshot_hash="1",
        raw_request="{}",
        raw_response="{}",
        system=None,
        input_messages=(),
        output=(),
        **fields,
    )


def good(target: UUID, value: bool, later: int = 0) -> BooleanFeedback:
    return BooleanFeedback(
        id=at(6, 13, number=later), target_id=target, metric_name="good", value=value, snapshot_hash="1"
    )


def number(name: str, target: UUID, value: float, later: int = 0) -> FloatFeedback:
    return FloatFeedback(id=at(6, 14, number=later), target_id=target, metric_name=name, value=value, snapshot_hash="1")


A1 = inference(at(4, number=1), "a", ms=100)
A2 = inference(at(5, number=2), "a", ms=300)
A3 = inference(at(5, number=3), "a", episode=at(4, number=1))
B1 = inference(at(6, 9, number=4), "b", ms=50)
ROWS = [
    A1,
    A2,
    A3,
    B1,
    call(A1, 1, input_tokens=10, output_tokens=5, provider_cache_read_input_tokens=4, cost=Decimal("0.1")),
    call(A2, 2, input_tokens=20, output_tokens=5, response_time_ms=10),
    call(A2, 3, error="broken", input_tokens=1000),
    call(B1, 4, input_tokens=1, output_tokens=1, response_time_ms=20, ttft_ms=5),
    good(A1.id, False, 1),
    good(A1.id, True, 2),
    good(A2.id, False, 3),
    good(B1.id, True, 4),
    number("cost", A1.id, 1.0, 1),
    number("cost", A2.id, 3.0, 2),
    number("mood", A1.episode_id, 0.5, 3),
    DemonstrationFeedback(id=at(6, 15), inference_id=A1.id, value=(Text("y"),), snapshot_hash="1"),
]


@asynccontextmanager
async def asking(opened: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of a gateway whose store holds these rows."""
    async with opened(TOML, clock=Settable()) as host:
        await host.store.write(ROWS)
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway/internal") as http:
            yield http


async def test_inferences_are_counted_by_function_and_variant(opened: Any) -> None:
    async with asking(opened) as http:
        every = (await http.get("/functions/inference_counts")).json()["functions"]
        assert every == [
            {"function_name": "f", "last_inference_timestamp": "2026-05-06T09:00:00Z", "inference_count": 4}
        ]
        assert (await http.get("/functions/f/inference_count")).json() == {"inference_count": 4}
        assert (await http.get("/functions/f/inference_count?variant_name=b")).json() == {"inference_count": 1}
        by_variant = (await http.get("/functions/f/inference_count?group_by=variant")).json()
        assert by_variant["count_by_variant"] == [
            {"variant_name": "a", "inference_count": 3, "last_used_at": "2026-05-05T12:00:00Z"},
            {"variant_name": "b", "inference_count": 1, "last_used_at": "2026-05-06T09:00:00Z"},
        ]


@pytest.mark.parametrize(
    ("metric", "query", "rows", "passed"),
    [
        ("good", "", 4, 2),
        ("cost", "?threshold=2", 2, 1),
        ("cost", "?threshold=1", 2, 0),
        ("mood", "?threshold=0.4", 1, 2),
        ("demonstration", "", 1, 1),
    ],
)
async def test_what_passes_a_threshold_is_counted_by_its_latest_value(
    opened: Any, metric: str, query: str, rows: int, passed: int
) -> None:
    async with asking(opened) as http:
        reply = await http.get(f"/functions/f/inference_count/{metric}{query}")
        assert reply.json() == {"feedback_count": rows, "inference_count": passed}


async def test_metrics_with_feedback_are_listed(opened: Any) -> None:
    async with asking(opened) as http:
        metrics = (await http.get("/functions/f/metrics?variant_name=a")).json()["metrics"]
        assert [(each["metric_name"], each.get("metric_type"), each["feedback_count"]) for each in metrics] == [
            ("cost", "float", 2),
            ("demonstration", None, 1),
            ("good", "boolean", 3),
            ("mood", "float", 1),
        ]


async def test_throughput_is_by_period_from_now_back(opened: Any) -> None:
    async with asking(opened) as http:
        found = (await http.get("/functions/f/throughput_by_variant?time_window=day&max_periods=2")).json()
        assert found["throughput"] == [
            {"period_start": "2026-05-05T00:00:00Z", "variant_name": "a", "count": 2},
            {"period_start": "2026-05-06T00:00:00Z", "variant_name": "b", "count": 1},
        ]
        week = (await http.get("/functions/f/throughput_by_variant?time_window=week")).json()["throughput"]
        assert {each["period_start"] for each in week} == {"2026-05-04T00:00:00Z"}
        ever = (await http.get("/functions/f/throughput_by_variant?time_window=cumulative")).json()["throughput"]
        assert [(each["period_start"], each["count"]) for each in ever] == [
            ("1970-01-01T00:00:00Z", 3),
            ("1970-01-01T00:00:00Z", 1),
        ]


async def test_usage_is_summed_over_what_is_known(opened: Any) -> None:
    async with asking(opened) as http:
        found = (await http.get("/functions/f/variant_usage?time_window=cumulative")).json()
        a, b = found["data"]
        assert {
            key: a[key] for key in ("variant_name", "input_tokens", "output_tokens", "count", "count_with_cost")
        } == {
            "variant_name": "a",
            "input_tokens": 30,
            "output_tokens": 10,
            "count": 2,
            "count_with_cost": 1,
        }
        assert a["cost"] == 0.1
        assert "cost" not in b
        assert a["processing_time_ms_quantiles"][found["quantiles"].index(0.5)] == 200
        days = (await http.get("/functions/f/variant_usage?time_window=day")).json()["data"]
        assert [(each["period_start"], each["count"]) for each in days] == [
            ("2026-05-04T00:00:00Z", 1),
            ("2026-05-05T00:00:00Z", 1),
            ("2026-05-06T00:00:00Z", 1),
        ]
        totals = (await http.get("/variant_statistics?function_name=f&after=2026-05-05T00:00:00Z")).json()["data"]
        assert [(each["variant_name"], each["inference_count"], each["total_input_tokens"]) for each in totals] == [
            ("a", 1, 20),
            ("b", 1, 1),
        ]


async def test_performance_is_of_the_latest_feedback_with_its_spread(opened: Any) -> None:
    async with asking(opened) as http:
        path = "/functions/f/variant_performances?metric_name=good&time_window=cumulative"
        a, b = (await http.get(path)).json()["performances"]
        assert (a["variant_name"], a["count"], a["avg_metric"]) == ("a", 2, 0.5)
        assert a["stdev"] == pytest.approx(math.sqrt(0.5))
        assert a["ci_error"] == pytest.approx(1.96 * math.sqrt(0.5) / math.sqrt(2))
        assert b == {"period_start": "1970-01-01T00:00:00Z", "variant_name": "b", "count": 1, "avg_metric": 1.0}
        [mood] = (
            await http.get("/functions/f/variant_performances?metric_name=mood&time_window=day&variant_name=a")
        ).json()["performances"]
        assert (mood["period_start"], mood["count"]) == ("2026-05-04T00:00:00Z", 1)


async def test_a_timeseries_accumulates_and_carries_a_confidence_sequence(opened: Any) -> None:
    async with asking(opened) as http:
        path = "/feedback/timeseries?function_name=f&metric_name=cost&time_window=day&max_periods=3"
        first, second, third = (await http.get(path)).json()["timeseries"]
        assert [each["period_end"] for each in (first, second, third)] == [
            "2026-05-05T00:00:00Z",
            "2026-05-06T00:00:00Z",
            "2026-05-07T00:00:00Z",
        ]
        assert (first["mean"], first["count"], first["cs_lower"]) == (1.0, 1, None)
        assert (second["mean"], second["variance"], second["count"], second["alpha"]) == (2.0, 2.0, 2, 0.05)
        rho = math.sqrt(-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / 10
        scaled = 2 * 2.0 * rho**2 + 1
        margin = math.sqrt(scaled / (4 * rho**2) * math.log(scaled / 0.05**2))
        assert second["cs_upper"] == pytest.approx(2 + margin)
        assert third["count"] == second["count"]
        none = await http.get(path + "&variant_names=b")
        assert none.json() == {"timeseries": []}


async def test_models_are_reported(opened: Any) -> None:
    async with asking(opened) as http:
        assert (await http.get("/models/count")).json() == {"model_count": 1}
        [usage] = (await http.get("/models/usage?time_window=cumulative")).json()["data"]
        assert (usage["model_name"], usage["count"], usage["input_tokens"]) == ("m", 3, 31)
        latency = (await http.get("/models/latency?time_window=cumulative")).json()
        [of_m] = latency["data"]
        assert of_m["response_time_ms_quantiles"][latency["quantiles"].index(0.5)] == 15
        [cached] = (await http.get("/models/cache_statistics?time_window=cumulative&model_name=m")).json()["data"]
        assert (cached["model_provider_name"], cached["cache_read_input_tokens"]) == ("p", 4)
        assert cached["cache_read_ratio"] == pytest.approx(4 / 31)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/functions/nope/inference_count", 404),
        ("/functions/f/inference_count?group_by=x", 400),
        ("/functions/f/inference_count/nope", 404),
        ("/functions/f/inference_count/cost?threshold=nan", 400),
        ("/functions/f/throughput_by_variant", 400),
        ("/functions/f/throughput_by_variant?time_window=year", 400),
        ("/functions/f/throughput_by_variant?time_window=day&max_periods=0", 400),
        ("/functions/f/throughput_by_variant?time_window=month&max_periods=4294967295", 400),
        ("/functions/f/variant_performances?time_window=day", 400),
        ("/feedback/timeseries?function_name=f&metric_name=cost&time_window=cumulative", 400),
        ("/variant_statistics?function_name=f&after=x", 400),
        ("/variant_statistics?function_name=f&after=2026-05-05T00:00:00", 400),
        ("/models/usage?time_window=x", 400),
    ],
)
async def test_bad_questions_are_refused(opened: Any, path: str, status: int) -> None:
    async with asking(opened) as http:
        assert (await http.get(path)).status_code == status


async def test_no_figures_of_nothing(opened: Any) -> None:
    async with opened(TOML) as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway/internal") as http:
            assert (await http.get("/functions/inference_counts")).json() == {"functions": []}
            assert (await http.get(f"/functions/f/metrics?variant_name={new_id()}")).json() == {"metrics": []}
