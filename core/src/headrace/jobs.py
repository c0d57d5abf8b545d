"""How far an optimization is, and what came out of it: the shapes that clients poll for."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct


class Pending(Struct, frozen=True, tag_field="status", tag="pending", omit_defaults=True):
    """An optimization that is still running."""

    message: str
    estimated_finish: str | None = None


class VariantOutput(Struct, frozen=True, tag_field="type", tag="variant"):
    """One new variant, as its TOML table."""

    content: dict[str, Any]


class VariantsOutput(Struct, frozen=True, tag_field="type", tag="variants"):
    """Several new variants by name."""

    content: dict[str, dict[str, Any]]


class ModelOutput(Struct, frozen=True, tag_field="type", tag="model"):
    """A new model, as its TOML table (``routing``, ``providers``)."""

    content: dict[str, Any]


class Completed(Struct, frozen=True, tag_field="status", tag="completed"):
    """An optimization that yielded something."""

    output: VariantOutput | VariantsOutput | ModelOutput


class Failed(Struct, frozen=True, tag_field="status", tag="failed", omit_defaults=True):
    """An optimization that will yield nothing."""

    message: str
    error: Any = None


JobStatus: TypeAlias = Pending | Completed | Failed
