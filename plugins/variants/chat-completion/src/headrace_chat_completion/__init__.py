"""Variant for headrace that renders templates and calls one model."""
