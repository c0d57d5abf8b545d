"""Workflow evaluations: runs of somebody's own program, in whose episodes functions have pinned variants."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from .contracts import Store
from .errors import BadRequest, NotFound
from .exchange import InferenceRequest
from .functions import Function
from .ids import is_workflow_episode, new_id, new_workflow_episode_id
from .records import WorkflowEpisode, WorkflowRun
from .tags import accepted, canonical

_RUN_TAGS = ("tensorzero::dynamic_evaluation_run_id", "tensorzero::workflow_evaluation_run_id")


class Workflows:
    """The runs of one store. Every method that needs one raises BadRequest where no store is configured."""

    def __init__(self, *, functions: Mapping[str, Function], store: Store | None, snapshot_hash: str) -> None:
        self._functions = functions
        self._store_or_none = store
        self._snapshot_hash = snapshot_hash

    async def begin(
        self,
        variants: Mapping[str, str],
        *,
        tags: Mapping[str, str],
        project_name: str | None = None,
        display_name: str | None = None,
        internal: bool = False,
    ) -> UUID:
        """A new run, durable when this returns. Raise NotFound or BadRequest for what is not configured."""
        pins = {canonical(name): variant for name, variant in variants.items()}
        for name, variant in pins.items():
            if name not in self._functions:
                raise NotFound(f"Unknown function: {name}")
            if variant not in self._functions[name].variants:
                known = ", ".join(self._functions[name].variants) or "none"
                raise BadRequest(f"Unknown variant: {variant} (variants of {name}: {known})")
        run = WorkflowRun(
            id=new_id(),
            variant_pins=pins,
            snapshot_hash=self._snapshot_hash,
            project_name=project_name,
            display_name=display_name,
            tags=accepted(tags, internal=internal),
        )
        await self._store.write([run])
        return run.id

    async def episode(self, run_id: UUID, *, tags: Mapping[str, str], task_name: str | None = None) -> UUID:
        """A new episode of a run, durable when this returns; its pins are the run's. Raise BadRequest."""
        run = next((found for found in await self._store.find(run_id) if isinstance(found, WorkflowRun)), None)
        if run is None:
            raise BadRequest(f"Workflow evaluation run not found: {run_id}")
        own = accepted(tags, internal="tensorzero::internal" in run.tags)
        episode = WorkflowEpisode(
            id=new_workflow_episode_id(),
            run_id=run.id,
            variant_pins=run.variant_pins,
            snapshot_hash=self._snapshot_hash,
            task_name=task_name,
            tags={**run.tags, **own, **dict.fromkeys(_RUN_TAGS, str(run.id))},
        )
        await self._store.write([episode])
        return episode.id

    async def of(self, request: InferenceRequest) -> WorkflowEpisode | None:
        """The episode that a request belongs to, if its id is of such a kind. Raise BadRequest for an unknown one."""
        if request.episode_id is None or not is_workflow_episode(request.episode_id):
            return None
        found = await self._store_or_none.find(request.episode_id) if self._store_or_none is not None else []
        for record in found:
            if isinstance(record, WorkflowEpisode):
                return record
        raise BadRequest(f"Workflow evaluation run not found for episode id: {request.episode_id}")

    @property
    def _store(self) -> Store:
        if self._store_or_none is None:
            raise BadRequest("Workflow evaluations need a store: `gateway.observability.enabled` is false")
        return self._store_or_none
