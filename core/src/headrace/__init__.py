"""An LLM gateway and learning loop in which every capability is a plugin.

This is what plugins import. Names are looked up when first used, so that ``headrace --help`` pays for none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contracts import (
        Answer,
        Cache,
        Embedder,
        Evaluator,
        Factory,
        ObjectStore,
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
else:  # hidden from mypy, which would take a module with __getattr__ to have every name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = {"SkipPlugin": "errors", "hookimpl": "hookspecs"}.get(name, "contracts")
        value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
        return value


__all__ = [
    "Answer",
    "Cache",
    "Embedder",
    "Evaluator",
    "Factory",
    "ObjectStore",
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
