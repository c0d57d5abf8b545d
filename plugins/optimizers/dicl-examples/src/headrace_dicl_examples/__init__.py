"""Optimizer for headrace that embeds curated examples and yields a DICL variant."""
