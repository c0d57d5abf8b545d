"""Bodies that work, by route, with something in most of their fields: what hostile ones are made of."""

from __future__ import annotations

from typing import Any

from headrace.ids import new_id

ID = str(new_id())
PNG = "data:image/png;base64,iVBORw0KGgo="
MANY_BLOCKS = [
    {"type": "text", "text": "hello"},
    {"type": "raw_text", "value": "as it is"},
    {"type": "tool_call", "id": "1", "name": "look", "arguments": {"at": 1}},
    {"type": "tool_result", "id": "1", "name": "look", "result": "seen"},
    {"type": "thought", "text": "hm", "signature": "s", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "file", "file_type": "base64", "data": "iVBORw0KGgo=", "mime_type": "image/png", "detail": "low"},
    {"type": "unknown", "data": {"a": [1]}, "model_name": "echo", "provider_name": "echo"},
]
PARAMS = {"chat_completion": {"temperature": 0.5, "max_tokens": 9, "seed": 1, "stop_sequences": ["x"]}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {"name": "more", "description": "More", "parameters": SCHEMA, "strict": True}
EXTRA = {
    "extra_body": [{"pointer": "/a/b", "value": {"c": 1}}, {"pointer": "/a", "delete": True, "variant_name": "v"}],
    "extra_headers": [{"name": "x-a", "value": "b"}],
    "cache_options": {"enabled": "on", "max_age_s": 9},
    "tags": {"a": "b"},
    "credentials": {"k": "v"},
    "params": PARAMS,
    "include_raw_response": True,
    "include_raw_usage": True,
}
OURS = {f"tensorzero::{key}": value for key, value in EXTRA.items()}
FUNCTION = {"type": "function", "function": {"name": "more", "parameters": SCHEMA}}
INLINE = {"type": "chat_completion", "model": "echo", "weight": 1, "retries": {"num_retries": 0, "max_delay_s": 1}}

# Bodies that work, by route.
GOOD: list[tuple[str, dict[str, Any]]] = [
    (
        "/inference",
        {
            "function_name": "chat",
            "input": {"system": "s", "messages": [{"role": "user", "content": MANY_BLOCKS}]},
            "additional_tools": [TOOL, {"type": "openai_custom", "name": "c", "format": {"type": "text"}}],
            "tool_choice": {"specific": "look"},
            "provider_tools": [{"tool": {"type": "web"}, "scope": {"model_name": "echo"}}],
            "stream": True,
            "include_aggregated_response": True,
            **EXTRA,
        },
    ),
    (
        "/inference",
        {
            "function_name": "json",
            "input": {"messages": [{"role": "user", "content": '{"a": "b"}'}]},
            "output_schema": SCHEMA,
            "dryrun": True,
            "internal_dynamic_variant_config": INLINE | {"json_mode": "on"},
        },
    ),
    ("/feedback", {"metric_name": "good", "value": True, "inference_id": ID, "tags": {"a": "b"}, "dryrun": False}),
    ("/feedback", {"metric_name": "far", "value": 0.5, "episode_id": ID, "dryrun": True}),
    (
        "/openai/v1/chat/completions",
        {
            "model": "tensorzero::function_name::chat",
            "messages": [
                {"role": "system", "content": "s"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hello"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
                    "tensorzero_extra_content": [{"type": "thought", "text": "hm", "insert_index": 0}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "seen"},
            ],
            "tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 5,
            "stop": ["x"],
            **OURS,
        },
    ),
    (
        "/openai/v1/embeddings",
        {"model": "tensorzero::embedding_model_name::vectors", "input": ["a", "b"], "dimensions": 3},
    ),
    (
        "/openai/v1/responses",
        {
            "model": "tensorzero::function_name::chat",
            "instructions": "be",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
                {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "seen"},
            ],
            "tools": [{"type": "function", "name": "more", "parameters": SCHEMA}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "look"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low"},
            "metadata": {"a": "b"},
            "max_output_tokens": 5,
            "stream": True,
            **OURS,
        },
    ),
    (
        "/anthropic/v1/messages",
        {
            "model": "tensorzero::function_name::chat",
            "max_tokens": 9,
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hello"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "tool_use", "id": "1", "name": "look", "input": {"a": 1}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "seen"}]},
            ],
            "tools": [{"name": "more", "input_schema": SCHEMA}],
            "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
            "top_k": 3,
            "metadata": {"user_id": "u"},
            "stream": True,
            **OURS,
        },
    ),
    (
        "/batch_inference",
        {
            "function_name": "chat",
            "variant_name": "w",
            "inputs": [{"messages": [{"role": "user", "content": "hello"}]}, {"messages": []}],
            "episode_ids": [ID, None],
            "params": {"chat_completion": {"temperature": [0.5, None], "stop_sequences": [["x"], []]}},
            "tags": [{"a": "b"}, None],
            "additional_tools": [[TOOL], None],
            "tool_choice": ["auto", None],
        },
    ),
    (
        "/v1/datasets/d/from_inferences",
        {"type": "inference_query", "function_name": "chat", "limit": 3, "offset": 0, "output_source": "inference"},
    ),
    ("/v1/datasets/d/list_datapoints", {"function_name": "chat", "limit": 3, "offset": 0, "splits": ["train"]}),
    ("/v1/datasets/d/get_datapoints", {"ids": [ID]}),
    ("/v1/datasets/get_datapoints", {"ids": [ID]}),
]
