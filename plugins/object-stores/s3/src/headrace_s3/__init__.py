"""Object store in S3, or in what speaks its protocol, for headrace."""

from headrace import Factory, hookimpl
from headrace.contracts import ObjectStore

from .store import S3, Settings

__all__ = ["S3", "Settings"]


@hookimpl
def headrace_object_stores() -> list[Factory[ObjectStore]]:
    """Offer ``type = "s3_compatible"``."""
    return [Factory("s3_compatible", Settings, S3)]
