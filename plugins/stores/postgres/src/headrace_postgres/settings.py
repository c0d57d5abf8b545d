"""The ``[postgres]`` table."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

_LONGEST_NAME_BYTES = 63  # a longer one, PostgreSQL cuts without a word


def _name(name: str) -> str:
    if not 0 < len(name.encode()) <= _LONGEST_NAME_BYTES or "\x00" in name:
        raise ValueError(f"a schema's name has 1 to {_LONGEST_NAME_BYTES} bytes")
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError("PostgreSQL keeps such names of schemas for itself")
    return name


# No message may show the URL: there is a password in it.
class Settings(BaseModel, extra="ignore", frozen=True, hide_input_in_errors=True):
    """Where the records go. Unknown keys are ignored, as TensorZero does.

    ``enabled`` and the two ``retention`` keys are read by the gateway, not by the store.
    """

    url: str = Field(min_length=1, repr=False)
    enabled: bool | None = None
    connection_pool_size: int = Field(default=20, ge=1)
    schema_name: Annotated[str, AfterValidator(_name)] = "headrace"
    disable_automatic_migrations: bool = False
    pgvector: bool = True
    command_timeout_s: float = Field(default=60, gt=0)
    inference_metadata_retention_days: int | None = Field(default=None, ge=1)
    inference_data_retention_days: int | None = Field(default=None, ge=1)
