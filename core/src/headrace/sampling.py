"""The sampling keys that tables of model-calling variants share."""

from __future__ import annotations

from pydantic import BaseModel

from .contracts import FunctionSpec
from .errors import ConfigError
from .types import JsonMode, Params


class Sampling(BaseModel, extra="forbid", frozen=True):
    """To be inherited by a variant's settings. A request's own parameters win over these."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] | None = None
    reasoning_effort: str | None = None
    thinking_budget_tokens: int | None = None
    verbosity: str | None = None
    json_mode: JsonMode | None = None

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
