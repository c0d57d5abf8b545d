"""What the answers of a batch cost: by the configuration under which it was started, or else by this one."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from ..config import ProviderKeys, Tables
from ..costs import NO_RATES, Rates
from .prices import Pricing

log = logging.getLogger(__name__)


def batch_rates(
    tables: Tables,
    pricing: Pricing,
    short: Callable[[str], Mapping[str, Any] | None],
    model_name: str,
    provider_name: str,
    started_under: str | None,
) -> Rates:
    """The rates of a model's provider, ``batch_cost`` before ``cost``, and these before a list's.

    ``started_under`` is the TOML of the configuration that started the batch, None if it is this one or not known.
    ``short`` is the table that a model's short name stands for.
    """
    if started_under is not None:
        try:
            return _rates(pricing, tomllib.loads(started_under).get("models", {}), short, model_name, provider_name)
        except (ValueError, ValidationError, TypeError, AttributeError) as error:  # another version wrote it
            log.warning(
                "prices of model %s, provider %s, when a batch was started: %s", model_name, provider_name, error
            )
    models = {name: {"providers": table.providers} for name, table in tables.models.items()}
    return _rates(pricing, models, short, model_name, provider_name)


def _rates(
    pricing: Pricing,
    models: dict[str, Any],
    short: Callable[[str], Mapping[str, Any] | None],
    model_name: str,
    provider_name: str,
) -> Rates:
    table = models[model_name].get("providers", {}).get(provider_name) if model_name in models else short(model_name)
    if table is None:
        return NO_RATES
    keys = ProviderKeys.model_validate({key: table[key] for key in ("cost", "batch_cost") if key in table})
    return pricing.rates(table, keys.cost if keys.batch_cost is None else keys.batch_cost)
