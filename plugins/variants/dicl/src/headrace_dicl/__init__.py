"""Variant for headrace that shows the model its nearest curated examples (DICL)."""
