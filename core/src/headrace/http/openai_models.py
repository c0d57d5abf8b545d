"""``GET /openai/v1/models``: what ``model`` can be, in OpenAI's words."""

from __future__ import annotations

from typing import Any

from ..errors import NotFound
from ..gateway import Gateway
from ..tags import canonical, is_reserved
from .openai_fields import EMBEDDING_MODEL, FUNCTION, MODEL


def model_list(gateway: Gateway) -> dict[str, Any]:
    """Every function, model and embedding model of the configuration. Shorthand names work without being listed."""
    return {"object": "list", "data": [_model(gateway, id_) for id_ in _ids(gateway)]}


def model(gateway: Gateway, id_: str) -> dict[str, Any]:
    """One of them. Raise NotFound."""
    if canonical(id_) not in _ids(gateway):
        raise NotFound(f"Model not found: {id_[:200]} (`GET /openai/v1/models` lists those that are configured)")
    return _model(gateway, canonical(id_))


def _ids(gateway: Gateway) -> list[str]:
    """What the configuration names; functions of headrace's own, which optimizers bring, are nobody's to choose."""
    return [
        prefix + name
        for prefix, names in (
            (FUNCTION, gateway.functions),
            (MODEL, gateway.models),
            (EMBEDDING_MODEL, gateway.embedding_models),
        )
        for name in names
        if not is_reserved(name)
    ]


def _model(gateway: Gateway, id_: str) -> dict[str, Any]:
    created = int(gateway.snapshot.created_at.timestamp())
    return {"id": id_, "object": "model", "created": created, "owned_by": "headrace"}
