"""``Config`` + ``Registry`` to ``Gateway``: all wiring, top to bottom. Everything wrong is reported at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from .. import __version__
from ..admission import Admission
from ..attachments import Attachments
from ..authentication import Authenticator
from ..batches import Batches
from ..config import Config, unavailable
from ..contracts import Clock, KeyStore, Optimizer, Services, Store, SystemClock
from ..credentials import Credentials
from ..datasets import Datasets
from ..errors import ConfigError
from ..evaluation import metric_name
from ..feedback import FeedbackDesk, Metric
from ..fetching import Fetcher
from ..gateway import Gateway, snapshot_of
from ..history import History
from ..outbound import Outbound
from ..plugins import Registry
from ..recorder import Recorder
from ..reports import Reports
from ..routes import Around
from ..splits import Shares
from ..telemetry import Telemetry
from ..traced import TracedAuthenticator, TracedFeedbackDesk, TracedLimiter
from ..transport import Transport
from ..workflows import Workflows
from .batches import batch_rates
from .functions import Functions
from .limits import limiter_of
from .models import Models
from .parts import NoTransport, Parts
from .storing import Storing
from .tracing import traces


class Assembly:
    """One pass over a configuration; tests stand in their own ``transport``, ``store`` and ``clock``."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        *,
        transport: Transport | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._config = config
        self._tables = config.tables
        secret = Credentials(environ).load
        timeout_s = self._tables.gateway.global_outbound_http_timeout_ms / 1000
        self.parts = Parts(registry, Services(NoTransport(), secret, clock or SystemClock(), timeout_s))
        # First, so that it is closed last: everything else may still end spans while it closes.
        self._traces = traces(self.parts, self._tables.gateway.export.otlp.traces, environ)
        self.parts.services = replace(self.parts.services, transport=transport or self._transport())
        self.parts.own(self.parts.services.transport)
        outbound: Transport = Outbound(self.parts.services.transport)
        if self._traces is not None:
            outbound = self._traces.transport(outbound)
        self.parts.services = replace(self.parts.services, transport=outbound)
        self._telemetry = Telemetry(self._tables.gateway.metrics.tensorzero_inference_latency_overhead_seconds_buckets)
        self._storing = Storing(self.parts, self._tables, environ, self._telemetry, store)
        self.store = self._storing.store
        self.parts.own(self.store)
        self.parts.problems.lines += unavailable(self._tables)
        self.attachments = self._attachments()
        self.parts.own(self.attachments)
        self.answers = self._storing.answers()
        self._authenticator = self._authentication()
        self._around = Around(
            self.parts.clock,
            self.answers,
            self.attachments.with_data,
            prefetch=self._tables.gateway.fetch_and_encode_input_files_before_inference,
            debug=self._tables.gateway.debug,
            limiter=limiter_of(self.parts, self._tables.rate_limiting, self._storing, environ),
        )
        if self._traces is not None:
            self._around = replace(self._around, limiter=TracedLimiter(self._around.limiter))
        self.models = Models(self.parts, self._tables, self._around, self._traces)
        self.functions = Functions(self.parts, self._tables, self.models, self.store, config.includes)
        self.optimizers = self._optimizers()

    def _authentication(self) -> Authenticator | None:
        """Who checks API keys (http-api 3); the keys are in the store."""
        auth = self._tables.gateway.auth
        if auth is None or not auth.enabled:
            return None
        if not isinstance(self.store, KeyStore):
            self.parts.problems.add(
                "gateway.auth.enabled",
                "Authentication is enabled (`gateway.auth.enabled = true`), but Postgres is not available, nor is "
                "another store that holds API keys: see `gateway.observability`, or set `gateway.auth.enabled = false`",
            )
            return None
        checks = Authenticator if self._traces is None else TracedAuthenticator
        return checks(self.store, self.parts.clock, ttl_s=auth.cache.ttl_ms / 1000 if auth.cache.enabled else None)

    def _optimizers(self) -> dict[str, Optimizer]:
        built: dict[str, Optimizer] = {}
        for name, table in self._tables.optimizers.items():
            where = f"optimizers.{name}"
            if not self.parts.is_installed("optimizer", where, table):
                continue
            optimizer = self.parts.build("optimizer", where, table)
            self.parts.own(optimizer)
            if optimizer is not None:
                built[name] = optimizer
        return built

    def gateway(self) -> Gateway:
        """The gateway, not yet open. Raise ConfigError with every problem found."""
        self.parts.problems.check()
        gateway = self._tables.gateway
        splits = self._tables.headrace.splits
        telemetry, recorder, metrics = self._telemetry, self._storing.recorder(), self._metrics()
        build: Callable[..., Gateway] = Gateway
        desk = FeedbackDesk
        if self._traces is not None:
            build = partial(self._traces.gateway, async_writes=gateway.observability.async_writes)
            desk = TracedFeedbackDesk
        return build(
            admission=Admission(
                functions=self.functions.functions,
                direct=self.functions.direct,
                inline=self.functions.inline,
                knows=self.models.knows,
                tools=self.functions.tools,
                snapshot_hash=self._config.hash,
                telemetry=telemetry,
                clock=self.parts.clock,
            ),
            functions=self.functions.functions,
            tools=self.functions.tools,
            models=list(self.models.models),
            embedding_model=self.models.embedding_model,
            embedding_models=list(self.models.embedding_models),
            attachments=self.attachments,
            snapshot=snapshot_of(
                self._config.hash,
                self._config.text,
                {**self._config.files, **self._config.includes},
                __version__,
                self.parts.clock.time(),
            ),
            resources=self.parts.resources,
            store=self.store,
            recorder=recorder,
            retention=self._storing.retention(),
            feedback=desk(
                metrics=metrics,
                store=self.store,
                recorder=recorder,
                telemetry=telemetry,
                clock=self.parts.clock,
                snapshot_hash=self._config.hash,
                validate_targets=not gateway.unstable_disable_feedback_target_validation,
            ),
            datasets=Datasets(
                store=self.store,
                recorder=recorder,
                clock=self.parts.clock,
                snapshot_hash=self._config.hash,
                shares=Shares(splits.train, splits.validation, splits.test),
                key=splits.key,
            ),
            batches=self._batches(recorder, telemetry),
            history=History(metrics=metrics, store=self.store, recorder=recorder),
            reports=Reports(
                functions=self.functions.functions, metrics=metrics, store=self.store, clock=self.parts.clock
            ),
            workflows=Workflows(functions=self.functions.functions, store=self.store, snapshot_hash=self._config.hash),
            telemetry=telemetry,
            clock=self.parts.clock,
            authenticator=self._authenticator,
            pings=self._storing.pings,
        )

    def _batches(self, recorder: Recorder | None, telemetry: Telemetry) -> Batches:
        return Batches(
            functions=self.functions.functions,
            tools=self.functions.tools,
            model=self.models.routed,
            rates=partial(batch_rates, self._tables, self.models.pricing, self.models.table_of_short),
            attachments=self.attachments,
            store=self.store,
            recorder=recorder,
            telemetry=telemetry,
            clock=self.parts.clock,
            snapshot_hash=self._config.hash,
            relays=self._tables.gateway.relay.gateway_url is not None,
        )

    def _attachments(self) -> Attachments:
        """Where the files of messages go (config spec 4.3)."""
        limits = self._tables.headrace.files
        table, store, kind = self._tables.object_storage, None, None
        if table is not None and table.get("type") == "disabled":
            kind = {"type": "disabled"}
        elif table is not None:
            store = self.parts.build("object_store", "object_storage", table)
            kind = dict(store.kind) if store is not None else None
        return Attachments(
            store=store,
            kind=kind,
            fetcher=Fetcher(
                max_bytes=limits.max_bytes,
                timeout_s=limits.timeout_s,
                max_redirects=limits.max_redirects,
                allow_private_addresses=limits.allow_private_addresses,
            ),
            prefetch=self._tables.gateway.fetch_and_encode_input_files_before_inference,
        )

    def _metrics(self) -> dict[str, Metric]:
        """The configured metrics, and one for each evaluator's scores (config spec 17)."""
        tables = self._tables.metrics
        metrics = {name: Metric(table.type, table.level, table.optimize) for name, table in tables.items()}
        for function, table in self._tables.functions.items():
            for name, evaluator in table.evaluators.items():
                score = self._score(function, name, evaluator)
                metrics[metric_name(function, name)] = Metric(score, "inference", evaluator.get("optimize", "max"))
        for evaluation, legacy in self._tables.evaluations.items():
            for name, evaluator in legacy.evaluators.items():
                metric = f"tensorzero::evaluation_name::{evaluation}::evaluator_name::{name}"
                score = evaluator.get("output_type", "boolean")
                metrics[metric] = Metric(score, "inference", evaluator.get("optimize", "max"))
        return metrics

    def _score(self, function: str, name: str, table: Mapping[str, Any]) -> Literal["boolean", "float"]:
        """What an evaluator's scores are: it says so itself, or its table does where its plugin is not installed."""
        built = self.functions.evaluators.get(function, {}).get(name)
        said: Literal["boolean", "float"] = built.output_type if built else table.get("output_type", "boolean")
        return said

    def optimizer(self, name: str) -> Optimizer:
        """The optimizer of ``[optimizers.NAME]``. Raise ConfigError for an unknown name."""
        self.parts.problems.check()
        if name not in self.optimizers:
            raise ConfigError(f"optimizers: no optimizer {name!r} (known: {', '.join(self.optimizers) or 'none'})")
        optimizer: Optimizer = self.optimizers[name]
        return optimizer

    def _transport(self) -> Transport:
        table = dict(self._tables.headrace.transport or {})
        # httpx is always there; aiohttp costs a tenth of its CPU, so it is taken when installed.
        table.setdefault("type", "aiohttp" if "aiohttp" in self.parts.registry.types("transport") else "httpx")
        built: Transport | None = self.parts.build("transport", "headrace.transport", table)
        return built or self.parts.services.transport  # the problem is noted; go on to find the others


def assemble(config: Config, registry: Registry, **stand_ins: Any) -> Gateway:
    """The gateway that a configuration describes, not yet open. Raise ConfigError with every problem found."""
    return Assembly(config, registry, **stand_ins).gateway()
