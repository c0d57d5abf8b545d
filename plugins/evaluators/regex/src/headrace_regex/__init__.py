"""Evaluator for headrace: the output matches, or must not match, an expression."""
