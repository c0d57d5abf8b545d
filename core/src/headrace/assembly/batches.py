"""What the answers of a batch cost: by the configuration under which it was started, or else by this one."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ..config import ProviderKeys, Tables
from ..costs import Price
from .models import price_of

log = logging.getLogger(__name__)


def batch_prices(tables: Tables, model_name: str, provider_name: str, started_under: str | None) -> Sequence[Price]:
    """The prices of a model's provider, ``batch_cost`` before ``cost``; none for a model without a table.

    ``started_under`` is the TOML of the configuration that started the batch, None if it is this one or not known.
    """
    if started_under is not None:
        try:
            return _prices(tomllib.loads(started_under).get("models", {}), model_name, provider_name)
        except (ValueError, ValidationError, TypeError, AttributeError) as error:  # another version wrote it
            log.warning(
                "prices of model %s, provider %s, when a batch was started: %s", model_name, provider_name, error
            )
    models = {name: {"providers": table.providers} for name, table in tables.models.items()}
    return _prices(models, model_name, provider_name)


def _prices(models: dict[str, Any], model_name: str, provider_name: str) -> tuple[Price, ...]:
    table = models.get(model_name, {}).get("providers", {}).get(provider_name, {})
    keys = ProviderKeys.model_validate({key: table[key] for key in ("cost", "batch_cost") if key in table})
    return tuple(map(price_of, keys.cost if keys.batch_cost is None else keys.batch_cost))
