"""The counters: names, labels and help as existing dashboards know them, and nothing before there is something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from headrace.counting import Board
from headrace.telemetry import Telemetry


def samples(telemetry: Telemetry) -> dict[str, float]:
    lines = telemetry.page().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_before_the_first_sample_there_is_nothing() -> None:
    assert Telemetry().page() == b""


def test_a_family_appears_with_its_first_sample_and_its_help() -> None:
    telemetry = Telemetry()
    telemetry.feedback("m")
    assert telemetry.page().decode().splitlines() == [
        "# HELP tensorzero_requests_total Requests handled by TensorZero",
        "# TYPE tensorzero_requests_total counter",
        'tensorzero_requests_total{endpoint="feedback",metric_name="m"} 1.0',
    ]


@pytest.mark.parametrize(
    ("family", "help_"),
    [
        ("tensorzero_requests_total", "Requests handled by TensorZero"),
        ("tensorzero_inferences_total", "Inferences performed by TensorZero"),
        ("tensorzero_input_tokens_total", "Input tokens consumed by TensorZero inferences"),
        ("tensorzero_output_tokens_total", "Output tokens consumed by TensorZero inferences"),
        ("headrace_records_dropped_total", "Records that could not be kept after every retry"),
    ],
)
def test_every_family_has_its_help_and_type(family: str, help_: str) -> None:
    telemetry = Telemetry()
    telemetry.inference("f")
    telemetry.tokens(1, 1)
    telemetry.dropped(1)
    page = telemetry.page().decode()
    assert f"# HELP {family} {help_}\n# TYPE {family} counter\n" in page


def test_an_inference_is_one_request_and_one_inference() -> None:
    telemetry = Telemetry()
    telemetry.inference("f")
    telemetry.inference("f")
    telemetry.inference("tensorzero::default", "openai::gpt")
    by_function = '{endpoint="inference",function_name="f"}'
    by_model = '{endpoint="inference",function_name="tensorzero::default",model_name="openai::gpt"}'
    assert samples(telemetry) == {
        f"tensorzero_requests_total{by_function}": 2,
        f"tensorzero_requests_total{by_model}": 1,
        f"tensorzero_inferences_total{by_function}": 2,
        f"tensorzero_inferences_total{by_model}": 1,
    }


def test_embeddings_are_one_request_and_as_many_inferences_as_inputs() -> None:
    telemetry = Telemetry()
    telemetry.embeddings("e", 3)
    labels = '{endpoint="embeddings",model_name="e"}'
    assert samples(telemetry) == {f"tensorzero_requests_total{labels}": 1, f"tensorzero_inferences_total{labels}": 3}


def test_feedback_is_a_request_and_no_inference() -> None:
    telemetry = Telemetry()
    for metric in ("m", "comment", "m"):
        telemetry.feedback(metric)
    assert samples(telemetry) == {
        'tensorzero_requests_total{endpoint="feedback",metric_name="m"}': 2,
        'tensorzero_requests_total{endpoint="feedback",metric_name="comment"}': 1,
    }


@pytest.mark.parametrize(
    ("input_tokens", "output_tokens", "seen"),
    [
        (5, None, {"tensorzero_input_tokens_total": 5}),
        (None, 7, {"tensorzero_output_tokens_total": 7}),
        (0, 0, {"tensorzero_input_tokens_total": 0, "tensorzero_output_tokens_total": 0}),
        (None, None, {}),
    ],
    ids=["input", "output", "zero", "unsaid"],
)
def test_tokens_count_each_for_itself(
    input_tokens: int | None, output_tokens: int | None, seen: dict[str, float]
) -> None:
    telemetry = Telemetry()
    telemetry.tokens(input_tokens, output_tokens)
    assert samples(telemetry) == seen


def test_labels_are_escaped() -> None:
    telemetry = Telemetry()
    telemetry.feedback('a"b\n\\')
    assert 'metric_name="a\\"b\\n\\\\"' in telemetry.page().decode()


def test_two_gateways_count_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.dropped(2)
    one.dropped(1)
    assert samples(one) == {"headrace_records_dropped_total": 3}
    assert samples(other) == {}


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.close()


def worker(board: Board, lane: int, waiting: int = 0, spilled: int = 0) -> Telemetry:
    """The telemetry of a worker, as if it were one: another mapping of the same file."""
    telemetry = Telemetry()
    telemetry.watch("headrace_records_waiting", lambda: waiting)
    telemetry.watch("headrace_records_spilled", lambda: spilled)
    board.open_lane(lane)
    telemetry.share(board.number, lane)
    return telemetry


def test_workers_give_one_page(board: Board) -> None:
    one, other = worker(board, 0, waiting=1, spilled=2), worker(board, 1, waiting=10, spilled=20)
    one.feedback("m")
    other.feedback("m")
    other.feedback("n")
    assert samples(one) == samples(other)
    assert samples(one) == {
        'tensorzero_requests_total{endpoint="feedback",metric_name="m"}': 2,
        'tensorzero_requests_total{endpoint="feedback",metric_name="n"}': 1,
        "headrace_records_spilled_total": 22,
        "headrace_records_waiting": 11,
    }


def test_what_a_dead_worker_counted_stays_and_its_successor_counts_on(board: Board) -> None:
    one, dead = worker(board, 0), worker(board, 1, waiting=10, spilled=20)
    dead.tokens(7, None)
    board.close_lane(1)
    assert samples(one) == {
        "tensorzero_input_tokens_total": 7,
        "headrace_records_spilled_total": 20,
        "headrace_records_waiting": 0,
    }
    successor = worker(board, 1, waiting=3, spilled=1)
    successor.tokens(1, None)
    assert samples(one) == {
        "tensorzero_input_tokens_total": 8,
        "headrace_records_spilled_total": 21,
        "headrace_records_waiting": 3,
    }


def test_what_was_counted_before_sharing_is_kept(board: Board) -> None:
    telemetry = Telemetry()
    telemetry.dropped(2)
    board.open_lane(0)
    telemetry.share(board.number, 0)
    telemetry.dropped(1)
    assert samples(telemetry) == {"headrace_records_dropped_total": 3}


def test_series_beyond_the_room_of_a_lane_are_told_of_and_not_counted(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = worker(board, 0)
    for number in range(33_000):
        telemetry.feedback(str(number))
    assert 32_000 < len(samples(telemetry)) < 32_769
    assert len([record for record in caplog.records if "too many metrics" in record.message]) == 1
