"""In-memory store for headrace, for tests."""
