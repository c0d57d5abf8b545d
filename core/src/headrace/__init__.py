"""An LLM gateway and learning loop in which every capability is a plugin.

This is what plugins import. Nothing here loads a plugin, an HTTP library or pydantic.
"""

from .contracts import (
    Answer,
    Embedder,
    Evaluator,
    Factory,
    Optimizer,
    Provider,
    Services,
    Store,
    Task,
    Variant,
    VariantServices,
    Weights,
    Workbench,
)
from .errors import SkipPlugin
from .hookspecs import hookimpl

__all__ = [
    "Answer",
    "Embedder",
    "Evaluator",
    "Factory",
    "Optimizer",
    "Provider",
    "Services",
    "SkipPlugin",
    "Store",
    "Task",
    "Variant",
    "VariantServices",
    "Weights",
    "Workbench",
    "__version__",
    "hookimpl",
]

__version__ = "0.1.0"
