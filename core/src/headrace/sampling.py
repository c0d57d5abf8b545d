"""The keys that tables of model-calling variants share: sampling, retries, extra parts of the request."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import AfterValidator, BaseModel, Field

from .contracts import FunctionSpec
from .errors import ConfigError
from .extras import Extra, ExtraBody, ExtraHeader
from .retries import Retries
from .types import JsonMode, Params

T = TypeVar("T", ExtraBody, ExtraHeader)


def _entries(kind: type[T], key: str) -> AfterValidator:
    def check(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for index, table in enumerate(tables):
            if set(table) not in ({key, "value"}, {key, "delete"}) or table.get("delete", True) is not True:
                raise ValueError(f"[{index}]: give `{key}` and `value`, or `{key}` and `delete = true`, found {table}")
            try:
                msgspec.convert(table, kind)
            except msgspec.ValidationError as error:
                raise ValueError(f"[{index}]: {error}") from None
        return tables

    return AfterValidator(check)


class ExtraKeys(BaseModel, extra="forbid", frozen=True):
    """``extra_body`` and ``extra_headers``, wherever the configuration has them (config spec 15)."""

    extra_body: Annotated[list[dict[str, Any]], _entries(ExtraBody, "pointer")] = []
    extra_headers: Annotated[list[dict[str, Any]], _entries(ExtraHeader, "name")] = []

    @cached_property
    def extra(self) -> Extra:
        """The entries, ready to apply."""
        return Extra(
            msgspec.convert(self.extra_body, tuple[ExtraBody, ...]),
            msgspec.convert(self.extra_headers, tuple[ExtraHeader, ...]),
        )


class Sampling(ExtraKeys, extra="forbid", frozen=True, strict=True):
    """To be inherited by a variant's settings. A request's own parameters win over these."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = Field(default=None, ge=0, lt=2**32)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    stop_sequences: tuple[str, ...] | None = Field(default=None, strict=False)  # TOML has arrays, not tuples
    reasoning_effort: str | None = None
    thinking_budget_tokens: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    verbosity: str | None = None
    json_mode: JsonMode | None = None
    retries: Retries = Retries()

    @cached_property
    def params(self) -> Params:
        """What is said here, as parameters of a request."""
        return Params(**self.model_dump(include=set(Params.__struct_fields__), exclude_none=True))

    def check_json_mode(self, function: FunctionSpec, variant_name: str) -> None:
        """Raise ConfigError unless ``json_mode`` is there in a json function, and only there."""
        if function.type == "json" and self.json_mode is None:
            raise ConfigError("`json_mode` is required in a json function: off, on, strict or tool")
        if function.type == "chat" and self.json_mode is not None:
            raise ConfigError(
                f"JSON mode is not supported for variant {variant_name}: {function.name} is a chat function"
            )
