"""Object store in a folder, for headrace."""

from headrace import Factory, hookimpl
from headrace.contracts import ObjectStore

from .store import Filesystem, Settings

__all__ = ["Filesystem", "Settings"]


@hookimpl
def headrace_object_stores() -> list[Factory[ObjectStore]]:
    """Offer ``type = "filesystem"``."""
    return [Factory("filesystem", Settings, Filesystem)]
