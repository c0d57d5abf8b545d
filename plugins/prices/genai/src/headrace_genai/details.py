"""Where upstreams tell of tokens that have a price of their own, beyond what headrace counts for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str, ...]

# By the name of a price: the name of its count, and where in an upstream's account it may be.
DETAILS: Final[Mapping[str, tuple[str, Sequence[Path]]]] = {
    "cache_write_1h_mtok": ("cache_write_1h_tokens", [("cache_creation", "ephemeral_1h_input_tokens")]),
    "input_audio_mtok": (
        "input_audio_tokens",
        [
            ("prompt_tokens_details", "audio_tokens"),
            ("input_tokens_details", "audio_tokens"),
            ("promptTokensDetails", "AUDIO", "tokenCount"),
        ],
    ),
    "cache_audio_read_mtok": ("cache_audio_read_tokens", [("cacheTokensDetails", "AUDIO", "tokenCount")]),
    "output_audio_mtok": (
        "output_audio_tokens",
        [("completion_tokens_details", "audio_tokens"), ("candidatesTokensDetails", "AUDIO", "tokenCount")],
    ),
    "input_image_mtok": (
        "input_image_tokens",
        [("input_tokens_details", "image_tokens"), ("promptTokensDetails", "IMAGE", "tokenCount")],
    ),
    "cache_image_read_mtok": ("cache_image_read_tokens", [("cacheTokensDetails", "IMAGE", "tokenCount")]),
    "output_image_mtok": (
        "output_image_tokens",
        [("output_tokens_details", "image_tokens"), ("candidatesTokensDetails", "IMAGE", "tokenCount")],
    ),
    "input_video_mtok": ("input_video_tokens", [("promptTokensDetails", "VIDEO", "tokenCount")]),
    "output_video_mtok": ("output_video_tokens", [("candidatesTokensDetails", "VIDEO", "tokenCount")]),
    "output_reasoning_mtok": (
        "output_reasoning_tokens",
        [
            ("completion_tokens_details", "reasoning_tokens"),
            ("output_tokens_details", "reasoning_tokens"),
            ("thoughtsTokenCount",),
        ],
    ),
    "web_searches_kcount": ("web_searches", [("server_tool_use", "web_search_requests")]),
}


def count_at(account: Any, paths: Sequence[Path]) -> int:
    """The number at the first of these places that has one; 0 if none has."""
    for path in paths:
        node = account
        for key in path:
            if isinstance(node, list):  # Google's: one object for each modality
                node = next((each for each in node if isinstance(each, dict) and each.get("modality") == key), None)
            else:
                node = node.get(key) if isinstance(node, dict) else None
        if type(node) is int and node > 0:
            return node
    return 0
