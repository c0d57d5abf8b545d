"""Families of metrics: over several workers, with bounds, and as the pages about them say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from headrace.contracts import Attempt
from headrace.counting import Board
from headrace.ids import new_id
from headrace.telemetry import _HELP, _HISTOGRAMS, _WATCHED, Telemetry
from headrace.types import ModelRequest, Usage
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]

OVERHEAD = "tensorzero_inference_latency_overhead_seconds"


def test_histograms_of_workers_add_up_whatever_their_buckets() -> None:
    board = Board()
    try:
        pages = []
        for lane, buckets in enumerate([(0.1, 1.0), (0.5, 1.0)]):  # the second has a new configuration
            board.open_lane(lane)
            telemetry = Telemetry(buckets)
            telemetry.overhead("f", "v", 0.05)  # before it is shared
            telemetry.share(board.number, lane)
            telemetry.overhead("f", "v", 0.7)
            telemetry.request("POST", "/inference", 200, 0.7)
            pages.append(telemetry)
        samples = {
            sample.labels["le"]: sample.value
            for family in text_string_to_metric_families(pages[1].page().decode())
            for sample in family.samples
            if sample.name == f"{OVERHEAD}_bucket"
        }
        assert samples == {"0.1": 1, "0.5": 2, "1.0": 4, "+Inf": 4}
        assert [telemetry.page().decode().count(f"{OVERHEAD}_count") for telemetry in pages] == [1, 1]
        assert b'status="2xx"} 2.0' in pages[0].page()
    finally:
        board.close()


def test_models_by_short_name_have_series_up_to_a_bound() -> None:
    telemetry = Telemetry()
    request = ModelRequest(messages=())
    for number in range(300):
        used = Attempt(new_id(), f"x::{number}", "p", "x", request, usage=Usage(1, 1), response_time_ms=1)
        telemetry.attempt(used)
        telemetry.inference("f", f"x::{number * 10}")
    page = telemetry.page().decode()
    assert page.count("headrace_model_call_duration_seconds_count{") == 201
    assert 'headrace_model_input_tokens_total{model_name="other",provider_name="other"} 100.0' in page
    assert "tensorzero_input_tokens_total 300.0" in page


@pytest.mark.parametrize("name", [*_HELP, *_HISTOGRAMS, *_WATCHED, "headrace_build_info"])
def test_every_family_is_in_the_reference(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert f"`{name}{'_total' if name in _HELP or name.endswith('spilled') else ''}`" in page


@pytest.mark.parametrize("path", ["deploy/grafana.json", "docs/how-to/watch-with-prometheus.md"])
def test_what_is_shown_of_metrics_names_families_that_exist(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    found = set(re.findall(r"\b(?:headrace|tensorzero)_\w+(?:_total|_bucket|_count|_seconds|_flight|_waiting)\b", text))
    families = {*_HISTOGRAMS, *(f"{name}_total" for name in _HELP), *_WATCHED}
    assert found
    assert {re.sub("_(bucket|count)$", "", name) for name in found} <= families
