"""The TOML of the configuration specification: files by glob, merged, paths read, checked, hashed."""

from .loading import Config, load, loads
from .problems import Problems
from .tables import (
    BatchWrites,
    EmbeddingModelTable,
    Experimentation,
    FunctionTable,
    GatewayTable,
    MetricTable,
    ModelTable,
    Observability,
    Tables,
    ToolTable,
)

__all__ = [
    "BatchWrites",
    "Config",
    "EmbeddingModelTable",
    "Experimentation",
    "FunctionTable",
    "GatewayTable",
    "MetricTable",
    "ModelTable",
    "Observability",
    "Problems",
    "Tables",
    "ToolTable",
    "load",
    "loads",
]
