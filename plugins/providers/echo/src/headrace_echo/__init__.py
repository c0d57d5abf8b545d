"""Deterministic provider for headrace that repeats what it is told; the template for new providers."""
