"""Requests about a made-up history, some of every route of what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from headrace.conformance.rows import START
from headrace.conformance.rows_history import DATASETS, METRICS, MODELS, PROVIDERS, VARIANTS, History
from msgspec import Struct

FUNCTIONS = ("write", "Write", "größe")
DATAPOINT, TARGET = "/internal/datasets/{dataset_name}/datapoints", "/internal/feedback/{target_id}"
DATASET, FUNCTION = "/v1/datasets/{dataset_name}", "/internal/functions/{function_name}"
HUMAN = "/internal/evaluations/datapoints/{datapoint_id}/get_human_feedback"


class Asked(Struct, frozen=True):
    """One request: its route, what stands in the path's braces, query parameters or a body."""

    method: str
    route: str
    of: dict[str, Any] = {}
    query: dict[str, Any] = {}
    body: Any = None

    @property
    def path(self) -> str:
        return self.route.format(**{name: quote(str(value), safe="") for name, value in self.of.items()})


def of_inferences(history: History) -> Iterator[Asked]:
    episodes, some = history.episodes, history.inferences[:50]
    ids = [str(id_) for id_ in some]
    time = {"type": "time", "time": (START + timedelta(days=9)).isoformat(), "comparison_operator": "<"}
    filters: list[Any] = [
        {"type": "boolean_metric", "metric_name": "good", "value": True},
        {"type": "float_metric", "metric_name": "stars", "value": 0.5, "comparison_operator": ">="},
        {"type": "float_metric", "metric_name": "Good", "value": 1, "comparison_operator": "!="},
        {"type": "demonstration_feedback", "has_demonstration": True},
        {"type": "tag", "key": "env", "value": "x' OR '1'='1", "comparison_operator": "!="},
        time,
        {"type": "not", "child": {"type": "or", "children": [time, {"type": "and", "children": [time, time]}]}},
    ]
    bodies: list[dict[str, Any]] = [
        *({"filters": each, "limit": 30} for each in filters),
        *({"order_by": [{"by": "metric", "name": name, "direction": "descending"}]} for name in ("good", "stars")),
        {"order_by": [{"by": "timestamp", "direction": "ascending"}], "offset": 3},
        {"search_query_experimental": "apple", "order_by": [{"by": "search_relevance", "direction": "descending"}]},
        {"before": ids[0], "limit": 50, "function_name": "write"},
        {"after": ids[1], "limit": 50, "variant_name": "b"},
        {"output_source": "demonstration", "limit": 100},
        {"output_source": "none", "episode_id": str(episodes[0])},
    ]
    for body in bodies:
        yield Asked("POST", "/v1/inferences/list_inferences", body=body)
        yield Asked("POST", "/internal/inferences/count", body=body)
        yield Asked("POST", "/internal/episodes", body={key: body[key] for key in body.keys() & {"filters", "limit"}})
    for source in ("inference", "demonstration"):
        yield Asked("POST", "/v1/inferences/get_inferences", body={"ids": ids, "output_source": source})
    for query in ({}, {"function_name": "größe", "limit": 5}, {"after": ids[2], "variant_name": "a"}):
        yield Asked("GET", "/internal/inference_metadata", query=query)
    for query in ({}, {"function_name": "write"}, {"before": str(episodes[1])}, {"after": str(episodes[1])}):
        yield Asked("GET", "/internal/episodes", query=query)
    yield Asked("GET", "/internal/episodes/bounds")
    for id_ in some[:4]:
        yield Asked("GET", "/internal/model_inferences/{inference_id}", {"inference_id": id_})
    for id_ in episodes[:2]:
        yield Asked("GET", "/internal/episodes/{episode_id}/inference_count", {"episode_id": id_})
    for id_ in (*some[:2], *episodes[:3], history.datapoints[0], history.batches[0], history.id()):
        yield Asked("GET", "/internal/resolve_uuid/{id}", {"id": id_})


def of_feedback(history: History) -> Iterator[Asked]:
    for id_ in (*history.inferences[:2], *history.episodes[:2], history.id()):
        for under in ("/bounds", "/latest_id_by_metric", "/count", "/demonstrations", ""):
            yield Asked("GET", TARGET + under, {"target_id": id_})
        yield Asked("GET", TARGET, {"target_id": id_}, {"before": str(history.inferences[0]), "limit": 1})
        yield Asked("GET", TARGET, {"target_id": id_}, {"after": str(history.inferences[0]), "limit": 1})
    for id_ in history.datapoints[:20]:
        yield Asked("POST", HUMAN, {"datapoint_id": id_}, body={"metric_name": METRICS[0], "output": "[ ]"})


def of_figures(history: History) -> Iterator[Asked]:
    yield Asked("GET", "/internal/functions/inference_counts")
    for name in FUNCTIONS:
        of = {"function_name": name}
        for query in ({}, {"variant_name": "a"}, {"group_by": "variant"}):
            yield Asked("GET", f"{FUNCTION}/inference_count", of, query)
        for metric in (*METRICS[:3], "demonstration"):
            yield Asked("GET", f"{FUNCTION}/inference_count/{{metric_name}}", of | {"metric_name": metric})
        yield Asked("GET", f"{FUNCTION}/metrics", of)
        yield Asked("GET", f"{FUNCTION}/metrics", of, {"variant_name": VARIANTS[2]})
        yield Asked("GET", f"{FUNCTION}/variant_sampling_probabilities", of)
        yield Asked("GET", "/internal/variant_statistics", query=of | {"after": START.isoformat()})
        for window in ("hour", "week", "cumulative"):
            over = {"time_window": window, "max_periods": "20"}
            yield Asked("GET", f"{FUNCTION}/throughput_by_variant", of, over)
            yield Asked("GET", f"{FUNCTION}/variant_usage", of, over)
            for metric in METRICS[:3]:
                yield Asked("GET", f"{FUNCTION}/variant_performances", of, over | {"metric_name": metric})
                if window != "cumulative":
                    yield Asked("GET", "/internal/feedback/timeseries", query=of | over | {"metric_name": metric})
    yield Asked("GET", "/internal/models/count")
    for window in ("day", "week", "cumulative"):
        for route in ("usage", "latency", "cache_statistics"):
            yield Asked("GET", f"/internal/models/{route}", query={"time_window": window})
    named = {"time_window": "month", "model_name": MODELS[0], "model_provider_name": PROVIDERS[0]}
    yield Asked("GET", "/internal/models/cache_statistics", query=named)


def of_datasets(history: History) -> Iterator[Asked]:
    ids = [str(id_) for id_ in history.datapoints]
    tag = {"type": "tag", "key": "a.b", "value": "1", "comparison_operator": "="}
    time = {"type": "time", "time": (START + timedelta(seconds=9)).isoformat(), "comparison_operator": ">="}
    for query in ({}, {"function_name": "write"}, {"limit": "1", "offset": "1"}):
        yield Asked("GET", "/internal/datasets", query=query)
    for name in (*DATASETS, "none"):
        of = {"dataset_name": name}
        for query in ({}, {"function_name": "Write"}):
            yield Asked("GET", f"{DATAPOINT}/count", of, query)
        bodies: list[dict[str, Any]] = [
            {},
            {"filter": tag},
            {"filter": {"type": "not", "child": {"type": "and", "children": [tag, time]}}, "limit": 50},
            {"order_by": [{"by": "timestamp", "direction": "ascending"}], "offset": 2},
            {"search_query_experimental": "ß", "splits": ["train"]},
            {"function_name": "größe"},
        ]
        for body in bodies:
            yield Asked("POST", f"{DATASET}/list_datapoints", of, body=body)
        yield Asked("POST", f"{DATASET}/get_datapoints", of, body={"ids": ids[:30]})
        yield Asked("GET", f"{DATASET}/holdout", of)
    yield Asked("POST", "/v1/datasets/get_datapoints", body={"ids": ids[:30]})


def of_the_platform(history: History) -> Iterator[Asked]:
    yield Asked("GET", "/internal/config")
    for hash_ in (*history.hashes, "unknown"):
        yield Asked("GET", "/internal/config/{hash}", {"hash": hash_})
    yield Asked("GET", "/status")
    yield Asked("GET", "/health")
    yield Asked("GET", "/openapi.json")


def changes(history: History) -> Iterator[Asked]:
    """What writes; `MADE` in a body is an id that was answered before, the last one."""
    of = {"dataset_name": "made"}
    said = {"messages": [{"role": "user", "content": "an apple a day"}]}
    chat = {"type": "chat", "function_name": "write", "input": said, "output": [{"type": "text", "text": "x"}]}
    json = {"type": "json", "function_name": "Write", "input": said, "output": {"raw": "{}"}, "tags": {"a": "b"}}
    wanted = {"metric_name": "good", "value": True}
    yield Asked("POST", f"{DATASET}/datapoints", of, body={"datapoints": [chat]})
    yield Asked("PATCH", f"{DATASET}/datapoints/metadata", of, body={"datapoints": [{"id": "MADE", "name": "n"}]})
    yield Asked("PATCH", f"{DATASET}/datapoints", of, body={"datapoints": [{"type": "chat", "id": "MADE"}]})
    yield Asked("POST", f"{DATAPOINT}/clone", of, body={"datapoint_ids": ["MADE", str(history.id())]})
    yield Asked("POST", f"{DATASET}/datapoints", of, body={"datapoints": [json]})
    yield Asked("DELETE", f"{DATASET}/datapoints", of, body={"ids": ["MADE"]})
    query = {"type": "inference_query", "filters": {"type": "boolean_metric", **wanted}, "function_name": "write"}
    yield Asked("POST", f"{DATASET}/from_inferences", of, body=query)
    # Made at one instant of a clock that stands, they are listed by their ids.
    yield Asked("POST", f"{DATASET}/list_datapoints", of, body={"limit": 100})
    yield Asked("GET", f"{DATASET}/holdout", of)
    yield Asked("GET", "/internal/datasets")
    yield Asked("DELETE", DATASET, of)
    yield Asked("GET", f"{DATAPOINT}/count", of)
    for inference_id in history.inferences[:2]:
        yield Asked("POST", "/feedback", body=wanted | {"inference_id": str(inference_id)})
        yield Asked("GET", TARGET, {"target_id": inference_id}, {"limit": "1"})
    yield Asked("POST", "/workflow_evaluation_run", body={"variants": {"write": "a"}})
    yield Asked("POST", "/workflow_evaluation_run/{run_id}/episode", {"run_id": "MADE"}, body={})
    yield Asked("GET", "/internal/resolve_uuid/{id}", {"id": "MADE"})
    yield Asked("POST", "/internal/config", body={"config": "", "extra_templates": {}, "tags": {"a": "b"}})


def everything(history: History) -> Iterator[Asked]:
    for part in (of_inferences, of_feedback, of_figures, of_datasets, of_the_platform, changes):
        yield from part(history)
