"""``Config`` + ``Registry`` to ``Gateway``: all wiring, top to bottom. Everything wrong is reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from .. import __version__, credentials
from ..config import Config
from ..contracts import Clock, Optimizer, Services, Store, SystemClock
from ..datasets import Datasets
from ..errors import ConfigError
from ..evaluation import metric_name
from ..feedback import FeedbackDesk, Metric
from ..gateway import Gateway, snapshot_of
from ..plugins import Registry
from ..recorder import CAPACITY, Recorder
from ..splits import Shares
from ..telemetry import Telemetry
from ..transport import Transport
from .functions import Functions
from .models import Models
from .parts import NoTransport, Parts


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
        secret = partial(credentials.load, environ=environ)
        timeout_s = self._tables.gateway.global_outbound_http_timeout_ms / 1000
        self.parts = Parts(registry, Services(NoTransport(), secret, clock or SystemClock(), timeout_s))
        self.parts.services = replace(self.parts.services, transport=transport or self._transport())
        self.parts.own(self.parts.services.transport)
        self.store = store or self._store()
        self.parts.own(self.store)
        self.models = Models(self.parts, self._tables)
        self.functions = Functions(self.parts, self._tables, self.models, self.store)
        self.optimizers: dict[str, Optimizer] = {
            name: self.parts.build("optimizer", f"optimizers.{name}", table)
            for name, table in self._tables.optimizers.items()
        }
        for optimizer in self.optimizers.values():
            self.parts.own(optimizer)

    def gateway(self) -> Gateway:
        """The gateway, not yet open. Raise ConfigError with every problem found."""
        self.parts.problems.check()
        gateway = self._tables.gateway
        splits = self._tables.headrace.splits
        telemetry, recorder = Telemetry(), None
        if self.store is not None:
            recorder = self._recorder(self.store, telemetry)
        return Gateway(
            functions=self.functions.functions,
            direct=self.functions.direct,
            embedding_models=self.models.embedding_models,
            tools=self.functions.tools,
            snapshot=snapshot_of(
                self._config.hash, self._config.text, self._config.files, __version__, self.parts.clock.time()
            ),
            resources=self.parts.resources,
            store=self.store,
            recorder=recorder,
            feedback=FeedbackDesk(
                metrics=self._metrics(),
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
            telemetry=telemetry,
            clock=self.parts.clock,
        )

    def _recorder(self, store: Store, telemetry: Telemetry) -> Recorder:
        observability = self._tables.gateway.observability
        writes = observability.batch_writes
        if writes is None or not writes.enabled:
            return Recorder(store, wait=not observability.async_writes, on_drop=telemetry.dropped)
        return Recorder(
            store,
            max_rows=writes.max_rows,
            interval_s=writes.flush_interval_ms / 1000,
            capacity=writes.write_queue_capacity or CAPACITY,
            on_drop=telemetry.dropped,
        )

    def _metrics(self) -> dict[str, Metric]:
        """The configured metrics, and one for each evaluator's scores."""
        metrics = {name: Metric(table.type, table.level) for name, table in self._tables.metrics.items()}
        for function, evaluators in self.functions.evaluators.items():
            for name, evaluator in evaluators.items():
                metrics[metric_name(function, name)] = Metric(evaluator.output_type, "inference")
        return metrics

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

    def _store(self) -> Store | None:
        observability = self._tables.gateway.observability
        known = self.parts.registry.types("store")
        for name in self._tables.stores:
            if name not in known:
                self.parts.problems.add(name, f"unknown table (stores installed: {', '.join(known) or 'none'})")
        if observability.enabled is False:
            return None
        backend = observability.backend
        if backend == "auto":
            if "sqlite" not in known:
                if observability.enabled:
                    self.parts.problems.add(
                        "gateway.observability", "no store is installed; `pip install headrace-sqlite` or set `backend`"
                    )
                return None
            backend = "sqlite"
        table = {"type": backend, **dict(self._tables.stores.get(backend) or {})}
        store: Store | None = self.parts.build("store", backend, table, key="gateway.observability.backend")
        return store


def assemble(config: Config, registry: Registry, **stand_ins: Any) -> Gateway:
    """The gateway that a configuration describes, not yet open. Raise ConfigError with every problem found."""
    return Assembly(config, registry, **stand_ins).gateway()
