"""Embed what the curator chose, store it as examples, and yield the variant that shows them to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import anyio
import msgspec
from headrace import Services, Workbench
from headrace.errors import BadRequest, ConfigError
from headrace.ids import new_id
from headrace.jobs import Completed, JobStatus, VariantOutput
from headrace.records import Datapoint, Example
from headrace.types import JsonMode
from msgspec import Struct
from pydantic import BaseModel, Field

from . import curation

VARIANT_TYPE = "experimental_dynamic_in_context_learning"


class Settings(BaseModel, extra="forbid", frozen=True):
    """An ``[optimizers.O]`` table with ``type = "dicl"``."""

    embedding_model: str
    variant_name: str
    function_name: str
    dimensions: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1)
    max_concurrency: int = Field(default=10, ge=1)
    k: int = Field(default=10, ge=1)
    model: str = "openai::gpt-4o-mini-2024-07-18"
    append_to_existing_variants: bool = False


class Handle(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``poll`` needs: the variant, for the work is done when ``launch`` returns."""

    type: Literal["dicl"]
    embedding_model: str
    k: int
    model: str
    json_mode: JsonMode | None = None


class DiclExamples:
    """Reads the train split alone: validation and test are for judging what comes out."""

    def __init__(self, settings: Settings, services: Services) -> None:
        if settings.dimensions is not None:
            raise ConfigError(
                "`dimensions` is not supported: the variant embeds its input without them, so that the examples would "
                "have vectors of another length; leave it out"
            )
        self._settings = settings

    async def launch(self, workbench: Workbench) -> dict[str, Any]:
        """Do the work. Nothing is stored unless every example could be embedded. Raise BadRequest."""
        settings = self._settings
        curation.check_function(workbench.function, settings.function_name)
        curated = curation.curated(await workbench.datapoints("train"))
        await self._check_is_new(workbench)
        inputs = [curation.input_text(each) for each in curated]
        vectors = await self._embed(workbench, inputs)
        await workbench.add_examples(
            [
                self._example(datapoint, input_, vector)
                for datapoint, input_, vector in zip(curated, inputs, vectors, strict=True)
            ]
        )
        handle = Handle(
            type="dicl",
            embedding_model=settings.embedding_model,
            k=settings.k,
            model=settings.model,
            json_mode="strict" if workbench.function.type == "json" else None,
        )
        made: dict[str, Any] = msgspec.to_builtins(handle)
        return made

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Completed, always: the handle holds the variant. Raise BadRequest for a handle of another optimizer."""
        try:
            found = msgspec.convert(dict(handle), Handle)
        except msgspec.ValidationError as error:
            raise BadRequest(f"this is not a handle of a `dicl` optimization: {error}") from None
        table = {**msgspec.to_builtins(found), "type": VARIANT_TYPE}
        return Completed(VariantOutput(table))

    async def _check_is_new(self, workbench: Workbench) -> None:
        settings = self._settings
        if settings.append_to_existing_variants:
            return
        count = await workbench.count_examples(settings.variant_name)
        if count:
            raise BadRequest(
                f"functions.{settings.function_name}.variants.{settings.variant_name} has {count} examples already: "
                "choose another `variant_name`, or set `append_to_existing_variants` to add to them"
            )

    async def _embed(self, workbench: Workbench, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """All vectors in the order of the texts; ``max_concurrency`` batches at a time, none after a failure."""
        size = self._settings.batch_size
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        vectors: dict[int, list[tuple[float, ...]]] = {}
        failures: list[Exception] = []
        limiter = anyio.CapacityLimiter(self._settings.max_concurrency)

        async def embed(index: int) -> None:
            async with limiter:
                try:
                    vectors[index] = await workbench.embed(self._settings.embedding_model, batches[index])
                except Exception as error:
                    # Kept and raised below: a task group would wrap it, and callers look for the error itself.
                    failures.append(error)
                    group.cancel_scope.cancel()
                    return
            workbench.advance(sum(len(each) for each in vectors.values()), len(texts))

        async with anyio.create_task_group() as group:
            for index in range(len(batches)):
                group.start_soon(embed, index)
        if failures:
            raise failures[0]
        return [vector for index in range(len(batches)) for vector in vectors[index]]

    def _example(self, datapoint: Datapoint, input_: str, vector: tuple[float, ...]) -> Example:
        return Example(
            id=new_id(),
            function_name=self._settings.function_name,
            variant_name=self._settings.variant_name,
            input=input_,
            output=curation.output_text(datapoint),
            embedding=vector,
        )
