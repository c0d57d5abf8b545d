"""What a model says by its name: the whole answer, or the pieces of a streamed one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import msgspec
from headrace.errors import ProviderError
from headrace.extras import apply_body, apply_headers
from headrace.media import File
from headrace.types import (
    Block,
    Delta,
    FinishReason,
    ModelRequest,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

from . import literals as say

_ID = "0"


def whole(name: str, request: ModelRequest) -> tuple[Block, ...]:
    """The blocks of an answer. Raise ProviderError where the name, or the request under it, means one."""
    if name in _TOOLS:
        tool, arguments = _TOOLS[name]
        return (ToolCall(_ID, tool, arguments),)
    if name == "null":
        return ()
    if name == "llm_judge::error":
        raise ProviderError("Dummy error in inference", raw_request=say.RAW_REQUEST)
    if name in ("reasoner", "reasoner_with_signature"):
        signature = say.SIGNATURE if name == "reasoner_with_signature" else None
        return Thought(say.THOUGHT, signature=signature), Text(say.MEGUMIN)
    if name == "json_reasoner":
        return Thought(say.THOUGHT), Text(say.TEXTS["json"])
    if name in _OF_REQUEST:
        return (Text(_OF_REQUEST[name](request)),)
    return (Text(say.TEXTS.get(name, say.MEGUMIN)),)


def pieces(name: str) -> tuple[Delta, ...]:
    """The content of a streamed answer, one chunk each."""
    if name in ("tool", "good_tool", "tool_split_name"):
        names = say.TOOL_NAME_PIECES if name == "tool_split_name" else (say.TOOL_NAME,)
        said = dict(enumerate(names))
        return tuple(ToolCallDelta(_ID, said.get(at), piece) for at, piece in enumerate(say.TOOL_PIECES))
    thoughts = say.THOUGHT_PIECES if name in ("reasoner", "json_reasoner") else ()
    texts = say.JSON_PIECES if name in ("json", "json_reasoner") else say.WALLY
    return tuple(ThoughtDelta(_ID, text) for text in thoughts) + tuple(TextDelta(_ID, text) for text in texts)


def raw_response(name: str, usage: Usage) -> str:
    """The upstream's words behind a whole answer: mostly the same, whatever was said."""
    if name == "tool":
        return _with_usage(say.TOOL_ARGUMENTS, usage)
    if name == "json":
        return _with_usage(say.TEXTS[name], usage)
    return {
        "bad_tool": say.BAD_TOOL_ARGUMENTS,
        "json_goodbye": say.TEXTS["json_goodbye"],
        "json_diff_schema": say.TEXTS["json_diff_schema"],
    }.get(name, say.RAW_RESPONSE)


def usage_of(name: str, count: int) -> Usage:
    """10 tokens in, and ``count`` out, unless the name says otherwise."""
    return {
        "input_tokens_zero": Usage(0, count),
        "output_tokens_zero": Usage(10, 0),
        "input_tokens_output_tokens_zero": Usage(0, 0),
        "input_five_output_six": Usage(5, 6),
    }.get(name, Usage(10, count))


def finish_of(name: str) -> FinishReason:
    """``tool_call`` for every name with "tool" in it, even where the answer is text."""
    return "tool_call" if "tool" in name else "stop"


def account(usage: Usage) -> dict[str, Any]:
    """Usage in the field names that cost pointers of test configurations expect."""
    tokens_in, tokens_out = usage.input_tokens or 0, usage.output_tokens or 0
    counts = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return {"usage": counts}


def json_of(value: Any) -> str:
    """Compact JSON; Structs as msgspec writes them."""
    return msgspec.json.encode(value).decode()


def _with_usage(text: str, usage: Usage) -> str:
    return json_of({**msgspec.json.decode(text), **account(usage)})


_TOOLS = {
    "tool": (say.TOOL_NAME, say.TOOL_ARGUMENTS),
    "bad_tool": (say.TOOL_NAME, say.BAD_TOOL_ARGUMENTS),
    "good_tool": (say.GOOD_TOOL_NAME, say.GOOD_TOOL_ARGUMENTS),
    "invalid_tool_arguments": (say.TOOL_NAME, say.NO_JSON),
}

# -- answers made of the request --------------------------------------------------------------------------


def _multiple_text_blocks(request: ModelRequest) -> str:
    first = request.messages[0].content if request.messages else ()
    found = sum(isinstance(block, Text) for block in first)
    if found != 2 or len(first) != 2:
        raise ProviderError(
            f"The first message must have exactly 2 text blocks; it has {len(first)} blocks, {found} of them text",
            status=400,
            at_fault="client",
            raw_request=say.RAW_REQUEST,
        )
    return say.MEGUMIN


def _last_user_text(request: ModelRequest) -> str:
    for message in reversed(request.messages):
        if message.role == "user":
            return "\n".join(block.text for block in message.content if isinstance(block, Text))
    return ""


def _extra_info(request: ModelRequest) -> str:
    return json_of({"extra_body": request.extra.body, "extra_headers": request.extra.headers})


def _injected(request: ModelRequest) -> str:
    body, headers = apply_body({}, request.extra.body), apply_headers({}, request.extra.headers)
    return json_of({"injected_body": body, "injected_headers": headers})


def _messages(request: ModelRequest) -> str:
    return json_of({"system": request.system, "messages": request.messages})


def _files(request: ModelRequest) -> list[File]:
    return [block for message in request.messages for block in message.content if isinstance(block, File)]


def _pdfs(request: ModelRequest) -> str:
    found = _files(request)
    if not any(file.mime_type == "application/pdf" for file in found):
        raise ProviderError(
            "The model `require_pdf` needs a file of type `application/pdf`",
            status=400,
            at_fault="client",
            raw_request=say.RAW_REQUEST,
        )
    return json_of(found)


_OF_REQUEST: Mapping[str, Callable[[ModelRequest], str]] = {
    "multiple-text-blocks": _multiple_text_blocks,
    "echo": _last_user_text,
    "echo_extra_info": _extra_info,
    "echo_injected_data": _injected,
    "echo_request_messages": _messages,
    "extract_images": lambda request: json_of(_files(request)),
    "require_pdf": _pdfs,
    "random_answer": lambda request: f'{{"answer": "{uuid4()}"}}',
}
