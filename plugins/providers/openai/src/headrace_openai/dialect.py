"""Where a server's speech differs from OpenAI's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where a server's speech differs from OpenAI's own, as far as most servers differ.

    ``name`` is for operators to read, ``provider_type`` marks the thoughts, ``token_limit`` is the field that
    carries ``max_tokens``, and ``stream_options`` says whether the server takes that field. ``unsupported`` are the
    parameters that are dropped with a warning. ``allowed_tools`` says whether the server can be told of all tools
    and of those it may call; without it, it is told only of the latter. Without ``custom_tools`` or ``files`` such a
    part of a request is refused; without ``image_detail`` that wish is dropped with a warning.
    """

    name: str = "OpenAI"
    provider_type: str = "openai"
    token_limit: str = "max_completion_tokens"
    stream_options: bool = True
    unsupported: frozenset[str] = frozenset({"thinking_budget_tokens"})
    allowed_tools: bool = True
    custom_tools: bool = True
    files: bool = True
    image_detail: bool = True
