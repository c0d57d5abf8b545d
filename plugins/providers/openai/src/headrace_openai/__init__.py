"""OpenAI-dialect provider for headrace: OpenAI itself and any server that speaks its chat completions."""

from typing import Any

from headrace import Factory, Provider, hookimpl

from .dialect import Dialect
from .provider import OpenAI, Settings

__all__ = ["Dialect", "OpenAI", "Settings"]


@hookimpl
def headrace_providers() -> list[Factory[Provider]]:
    """Offer ``type = "openai"``."""
    return [Factory("openai", Settings, OpenAI, shorthand=_table_of)]


def _table_of(name: str) -> dict[str, Any]:
    """What ``openai::NAME`` means; ``openai::responses::NAME`` is the same model behind the other API."""
    api, separator, rest = name.partition("::")
    if separator and api == "responses":
        return {"model_name": rest, "api_type": "responses"}
    return {"model_name": name}
