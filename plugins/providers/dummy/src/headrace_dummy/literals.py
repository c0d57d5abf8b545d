"""Texts that existing tests compare word by word."""

from __future__ import annotations

MEGUMIN = (
    "Megumin gleefully chanted her spell, unleashing a thunderous explosion "
    "that lit up the sky and left a massive crater in its wake."
)
ALTERNATE = "Megumin chanted her spell, but instead of an explosion, a gentle rain began to fall."

WALLY = (
    "Wally,",
    " the",
    " golden",
    " retriever,",
    " wagged",
    " his",
    " tail",
    " excitedly",
    " as",
    " he",
    " devoured",
    " a",
    " slice",
    " of",
    " cheese",
    " pizza.",
)
THOUGHT = "hmmm"
THOUGHT_PIECES = (THOUGHT, THOUGHT)
SIGNATURE = "my_signature"
TOOL_PIECES = ('{"location"', ':"Brooklyn"', ',"units"', ':"celsius', '"}')
JSON_PIECES = ('{"name"', ':"John"', ',"age"', ":30", "}")

TOOL_NAME = "get_temperature"
TOOL_NAME_PIECES = ("get_temp", "erature")
TOOL_ARGUMENTS = "".join(TOOL_PIECES)
BAD_TOOL_ARGUMENTS = '{"location":"Brooklyn","units":"Celsius"}'
GOOD_TOOL_NAME = "output_schema_tool"
GOOD_TOOL_ARGUMENTS = '{"sentiment":"positive","confidence":0.95}'
NO_JSON = "these arguments are not JSON"

RAW_REQUEST = "raw request"
ERROR_RAW_REQUEST = "dummy error raw request"
ERROR_RAW_RESPONSE = "dummy error raw response"
RAW_RESPONSE = f"""{{
  "id": "id",
  "object": "text.completion",
  "created": 1618870400,
  "model": "text-davinci-002",
  "choices": [
    {{
      "text": "{MEGUMIN}",
      "index": 0,
      "logprobs": null,
      "finish_reason": null
    }}
  ],
  "usage": {{
    "prompt_tokens": 10,
    "completion_tokens": 10,
    "total_tokens": 20
  }}
}}"""

# What the models say that always answer with the same text.
TEXTS = {
    "json": '{"answer":"Hello"}',
    "json_goodbye": '{"answer":"Goodbye"}',
    "json_diff_schema": '{"response":"Hello"}',
    "json_cot": '{"thinking":"hmmm", "response": {"answer":"tokyo!"}}',
    "json_beatles_1": '{"names":["John", "George"]}',
    "json_beatles_2": '{"names":["Paul", "Ringo"]}',
    "best_of_n_0": '{"thinking": "hmmm", "answer_choice": 0}',
    "best_of_n_1": '{"thinking": "hmmm", "answer_choice": 1}',
    "best_of_n_big": '{"thinking": "hmmm", "answer_choice": 100}',
    "flaky_best_of_n_judge": '{"thinking": "hmmm", "answer_choice": 0}',
    "alternate": ALTERNATE,
    "llm_judge::true": '{"score": true}',
    "llm_judge::false": '{"score": false}',
    "llm_judge::zero": '{"score": 0}',
    "llm_judge::one": '{"score": 1}',
    "empty": "",
}
