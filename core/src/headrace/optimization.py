"""A run of an optimizer on the open splits of a dataset; the test split stays sealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import tomlkit

from .contracts import DatapointQuery, FunctionSpec, Optimizer
from .errors import HeadraceError, SealedSplit
from .gateway import Gateway
from .jobs import JobStatus, ModelOutput, Pending, VariantOutput, VariantsOutput
from .records import Datapoint, Example
from .types import EmbeddingRequest, Split

_POLL_S = 10.0


class Bench:
    """The ``Workbench`` of one run on one dataset."""

    def __init__(
        self,
        gateway: Gateway,
        function: FunctionSpec,
        dataset_name: str,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if gateway.store is None:
            raise HeadraceError("optimization needs a store: `gateway.observability.enabled` is false")
        self._gateway = gateway
        self._store = gateway.store
        self._function = function
        self._dataset_name = dataset_name
        self._advance = advance

    @property
    def function(self) -> FunctionSpec:
        """The function to be made better."""
        return self._function

    async def datapoints(self, split: Split) -> list[Datapoint]:
        """The dataset's ``train`` or ``validation`` part, in the order of ids. Raise SealedSplit for ``test``."""
        if split not in ("train", "validation"):
            raise SealedSplit(
                f"an optimizer asked for split {split!r} of {self._dataset_name!r}: it may learn from "
                "`train` and choose on `validation`; `test` exists to judge what came out"
            )
        query = DatapointQuery(
            dataset_name=self._dataset_name, function_name=self._function.name, splits=(split,), limit=None
        )
        return sorted(await self._gateway.datasets.find(query), key=lambda datapoint: datapoint.id)

    async def embed(self, model_name: str, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector per text, in order."""
        response = await self._gateway.embed(model_name, EmbeddingRequest(input=list(texts)))
        return list(response.embeddings)

    async def count_examples(self, variant_name: str) -> int:
        """How many examples the variant has already."""
        return await self._store.count_examples(self._function.name, variant_name)

    async def add_examples(self, examples: Sequence[Example]) -> None:
        """Store examples; durable when it returns."""
        await self._store.write(examples)

    def advance(self, done: int, total: int) -> None:
        """Say how far the work has come."""
        self._advance(done, total)


async def optimize(optimizer: Optimizer, bench: Bench, say: Callable[[str], None] = lambda line: None) -> JobStatus:
    """Launch, and poll until it is over. ``say`` gets what a pending job reports."""
    handle = await optimizer.launch(bench)
    while isinstance(status := await optimizer.poll(handle), Pending):
        say(status.message)
        await anyio.sleep(_POLL_S)
    return status


def as_toml(output: VariantOutput | VariantsOutput | ModelOutput, function_name: str, name: str) -> str:
    """What came out, as TOML to put beside the rest of the configuration."""
    tree: dict[str, Any]
    if isinstance(output, ModelOutput):
        tree = {"models": {name: output.content}}
    else:
        variants = {name: output.content} if isinstance(output, VariantOutput) else output.content
        tree = {"functions": {function_name: {"variants": variants}}}
    return tomlkit.dumps(tree)
