"""OpenAI-dialect provider for headrace: OpenAI itself and any server that speaks its chat completions."""
