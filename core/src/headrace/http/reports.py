"""Figures for dashboards: how often, how fast, how dear and how good (datasets-and-queries 1, experimentation 6)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import BadRequest
from ..gateway import Gateway
from ..queries import InferenceCount, LatencySummary, UsageSum, Window
from ..reports import ALPHA, DEMONSTRATION, QUANTILES, Reports, VariantUsage, deviation
from ..tags import canonical
from .errors import BadParameter, native_body, query_whole
from .native import encode
from .routing import Route

_EPOCH: Final = "1970-01-01T00:00:00Z"  # where the one period that has no beginning is said to begin
_PERIODS: Final = 10


class FunctionReports:
    """The endpoints about functions and their variants, bound to one gateway."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def counts(self, request: Request) -> Response:
        """``GET /internal/functions/inference_counts``."""
        found: dict[str, list[InferenceCount]] = {}
        for each in await self._reports.counts():
            found.setdefault(each.function_name, []).append(each)
        functions = [
            {
                "function_name": name,
                "last_inference_timestamp": max(each.last_at for each in counts),
                "inference_count": sum(each.count for each in counts),
            }
            for name, counts in found.items()
        ]
        functions.sort(key=lambda each: cast(datetime, each["last_inference_timestamp"]), reverse=True)
        return _json({"functions": functions})

    async def count(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/inference_count``."""
        found = await self._reports.counts(_function(request), request.query_params.get("variant_name"))
        body: dict[str, Any] = {"inference_count": sum(each.count for each in found)}
        group_by = request.query_params.get("group_by")
        if group_by not in (None, "variant"):
            raise BadParameter(f"Failed to deserialize query string: group_by: unknown variant `{group_by}`")
        if group_by is not None:
            found = sorted(found, key=lambda each: -each.count)
            body["count_by_variant"] = [
                {"variant_name": each.variant_name, "inference_count": each.count, "last_used_at": each.last_at}
                for each in found
            ]
        return _json(body)

    async def passing(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/inference_count/{metric_name}``."""
        metric_name = canonical(request.path_params["metric_name"])
        rows, passed = await self._reports.passing(_function(request), metric_name, _number(request, "threshold", 0.0))
        return _json({"feedback_count": rows, "inference_count": passed})

    async def metrics(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/metrics``: configured metrics and demonstrations, no comments."""
        name = _function(request)
        found = await self._reports.metrics(name, request.query_params.get("variant_name"))
        metrics = [
            {
                "function_name": name,
                "metric_name": each.metric_name,
                **({} if each.metric_name == DEMONSTRATION else {"metric_type": each.type}),
                "feedback_count": each.count,
            }
            for each in found
            if each.type != "comment"
        ]
        return _json({"metrics": metrics})

    async def throughput(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/throughput_by_variant``."""
        found = await self._reports.throughput(_function(request), *_window_and_periods(request))
        throughput = [
            {"period_start": _start(each.period_start), "variant_name": each.variant_name, "count": each.count}
            for each in found
        ]
        return _json({"throughput": throughput})

    async def variant_usage(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/variant_usage``."""
        found = await self._reports.variant_usage(_function(request), *_window_and_periods(request))
        data = [
            {
                "period_start": _start(each.usage.period_start),
                "variant_name": each.usage.name,
                **_used(each.usage),
                **_latency(each.latency),
            }
            for each in found
        ]
        return _json({"quantiles": QUANTILES, "data": data})

    async def performances(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/variant_performances``."""
        found = await self._reports.performances(
            _function(request),
            canonical(_required(request, "metric_name")),
            _window(request),
            request.query_params.get("variant_name"),
        )
        performances = []
        for each in found:
            spread = deviation(each)
            body = {
                "period_start": _start(each.period_start),
                "variant_name": each.variant_name,
                "count": each.count,
                "avg_metric": each.mean,
            }
            if spread is not None:
                body |= {"stdev": spread, "ci_error": 1.96 * spread / each.count**0.5}
            performances.append(body)
        return _json({"performances": performances})

    async def timeseries(self, request: Request) -> Response:
        """``GET /internal/feedback/timeseries``."""
        found = await self._reports.timeseries(
            canonical(_required(request, "function_name")),
            canonical(_required(request, "metric_name")),
            *_window_and_periods(request),
            _names(request, "variant_names"),
        )
        points = [
            {
                "period_end": each.period_end,
                "variant_name": each.variant_name,
                "mean": each.mean,
                "variance": each.variance,
                "count": each.count,
                "alpha": ALPHA,
                "cs_lower": each.low,
                "cs_upper": each.high,
            }
            for each in found
        ]
        return _json({"timeseries": points})

    async def statistics(self, request: Request) -> Response:
        """``GET /internal/variant_statistics``."""
        found = await self._reports.variant_statistics(
            canonical(_required(request, "function_name")),
            _names(request, "variant_names"),
            since=_instant(request, "after"),
            until=_instant(request, "before"),
        )
        return _json({"quantiles": QUANTILES, "data": [_totals(each) for each in found]})


class ModelReports:
    """The endpoints about models, bound to one gateway."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def count(self, request: Request) -> Response:
        """``GET /internal/models/count``."""
        return _json({"model_count": await self._reports.models()})

    async def usage(self, request: Request) -> Response:
        """``GET /internal/models/usage``."""
        found = await self._reports.model_usage(*_window_and_periods(request), request.query_params.get("model_name"))
        data = [{"period_start": _start(each.period_start), "model_name": each.name, **_used(each)} for each in found]
        return _json({"data": data})

    async def latency(self, request: Request) -> Response:
        """``GET /internal/models/latency``."""
        found = await self._reports.model_latencies(_window(request))
        data = [
            {
                "model_name": each.name,
                "response_time_ms_quantiles": each.total,
                "ttft_ms_quantiles": each.ttft,
                "count": each.count,
            }
            for each in found
        ]
        return _json({"quantiles": QUANTILES, "data": data})

    async def cache(self, request: Request) -> Response:
        """``GET /internal/models/cache_statistics``: how much of the input providers took from their own caches."""
        found = await self._reports.provider_usage(
            *_window_and_periods(request),
            request.query_params.get("model_name"),
            request.query_params.get("model_provider_name"),
        )
        data = []
        for each in found:
            used = _used(each)
            body: dict[str, Any] = {key: used[key] for key in ("input_tokens", *_CACHE, "count") if key in used}
            if each.input_tokens and each.cache_read_input_tokens is not None:
                body["cache_read_ratio"] = each.cache_read_input_tokens / each.input_tokens
            body |= {"model_name": each.name, "model_provider_name": each.owner}
            data.append({"period_start": _start(each.period_start), **body})
        return _json({"data": data})


# -- from a query string --------------------------------------------------------------------------------------


def _function(request: Request) -> str:
    return canonical(request.path_params["function_name"])


def _required(request: Request, name: str) -> str:
    text = request.query_params.get(name)
    if text is None:
        raise BadParameter(f"Failed to deserialize query string: missing field `{name}`")
    return text


def _window(request: Request) -> Window:
    text = _required(request, "time_window")
    if text not in get_args(Window):
        expected = ", ".join(f"`{window}`" for window in get_args(Window))
        found = f"unknown variant `{text[:100]}`, expected one of {expected}"
        raise BadParameter(f"Failed to deserialize query string: time_window: {found}")
    return cast(Window, text)


def _window_and_periods(request: Request) -> tuple[Window, int]:
    periods = query_whole(request, "max_periods")
    return _window(request), _PERIODS if periods is None else periods


def _names(request: Request, name: str) -> tuple[str, ...] | None:
    text = request.query_params.get(name)
    return None if text is None else tuple(filter(None, text.split(",")))


def _number(request: Request, name: str, otherwise: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:
        raise BadParameter(f"Failed to deserialize query string: {name}: invalid value `{text[:100]}`: not a number")
    return value


def _instant(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        found: datetime = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise BadParameter(
            f"Failed to deserialize query string: {name}: invalid value `{text[:100]}`: not an RFC 3339 instant"
        ) from None
    if found.tzinfo is None:
        raise BadRequest(f"{name}: `{text[:100]}` has no time zone; add `Z` for UTC")
    return found


# -- to bodies ------------------------------------------------------------------------------------------------

_CACHE: Final = ("cache_read_input_tokens", "cache_write_input_tokens")


def _start(at: datetime | None) -> datetime | str:
    return _EPOCH if at is None else at


def _used(usage: UsageSum) -> dict[str, Any]:
    """The sums that are known; ``count`` always is."""
    sums: dict[str, int | Decimal | None] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_write_input_tokens": usage.cache_write_input_tokens,
        "count": usage.count,
        "cost": usage.cost,
        "count_with_cost": usage.count_with_cost,
    }
    return {name: value for name, value in sums.items() if value is not None}


def _latency(latency: LatencySummary | None) -> dict[str, Any]:
    if latency is None:
        return {}
    return {
        name: quantiles
        for name, quantiles in (
            ("processing_time_ms_quantiles", latency.total),
            ("ttft_ms_quantiles", latency.ttft),
        )
        if quantiles
    }


_TOTALS: Final = {
    "input_tokens": "total_input_tokens",
    "output_tokens": "total_output_tokens",
    "cache_read_input_tokens": "total_cache_read_input_tokens",
    "cache_write_input_tokens": "total_cache_write_input_tokens",
    "count": "inference_count",
    "cost": "total_cost",
    "count_with_cost": "count_with_cost",
}


def _totals(each: VariantUsage) -> dict[str, Any]:
    used = {_TOTALS[name]: value for name, value in _used(each.usage).items()}
    names = {"function_name": each.usage.owner, "variant_name": each.usage.name}
    return {**names, **used, **_latency(each.latency)}


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    functions, models = FunctionReports(gateway.reports), ModelReports(gateway.reports)
    of = "/internal/functions/{function_name}"
    gets = {
        "/internal/functions/inference_counts": functions.counts,
        f"{of}/inference_count": functions.count,
        f"{of}/inference_count/{{metric_name}}": functions.passing,
        f"{of}/metrics": functions.metrics,
        f"{of}/throughput_by_variant": functions.throughput,
        f"{of}/variant_usage": functions.variant_usage,
        f"{of}/variant_performances": functions.performances,
        "/internal/feedback/timeseries": functions.timeseries,
        "/internal/variant_statistics": functions.statistics,
        "/internal/models/count": models.count,
        "/internal/models/usage": models.usage,
        "/internal/models/latency": models.latency,
        "/internal/models/cache_statistics": models.cache,
    }
    return [Route("GET", path, endpoint, native_body) for path, endpoint in gets.items()]
