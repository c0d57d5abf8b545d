"""Evaluator for headrace: the output equals the reference."""
