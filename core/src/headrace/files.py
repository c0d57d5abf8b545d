"""A file named in the configuration: read once at load, its text carried in its place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class File(BaseModel):
    """What a plugin's settings declare for a key that is a path. ``name`` is the template name (config spec 2.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(alias="__tensorzero_remapped_path")
    text: str = Field(alias="__data")
