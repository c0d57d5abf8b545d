"""``[provider_types]``: what all providers of one type share (config spec 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ..credentials import Location
from .base import LaxTable, Table, refuse


class CredentialDefaults(LaxTable):
    """``defaults``: where providers of this type find their credential if they do not say so themselves."""

    api_key_location: Location

    @property
    def location(self) -> Location:
        """The same, whatever its key is called."""
        return self.api_key_location


class GcpDefaults(LaxTable):
    """The same for Google's types."""

    credential_location: Location

    @property
    def location(self) -> Location:
        """The same, whatever its key is called."""
        return self.credential_location


class ProviderTypeTable(LaxTable):
    """``[provider_types.TYPE]``."""

    defaults: CredentialDefaults | None = None

    @property
    def location(self) -> Location | None:
        """The default credential, None if there is none."""
        return self.defaults.location if self.defaults else None


class FireworksSft(LaxTable):
    """``[provider_types.fireworks.sft]``."""

    account_id: str


class FireworksTypeTable(ProviderTypeTable):
    """``[provider_types.fireworks]``."""

    sft: FireworksSft | None = None


class TogetherSft(LaxTable):
    """``[provider_types.together.sft]``."""

    wandb_api_key: str | None = None
    wandb_base_url: str | None = None
    wandb_project_name: str | None = None
    hf_api_token: str | None = None


class TogetherTypeTable(ProviderTypeTable):
    """``[provider_types.together]``."""

    sft: TogetherSft | None = None


class GcpTypeTable(LaxTable):
    """``[provider_types.gcp_vertex_anthropic]``."""

    defaults: GcpDefaults | None = None

    @property
    def location(self) -> Location | None:
        """The default credential, None if there is none."""
        return self.defaults.location if self.defaults else None


class GeminiSft(LaxTable):
    """``[provider_types.gcp_vertex_gemini.sft]``."""

    project_id: str
    region: str
    bucket_name: str
    bucket_path_prefix: str | None = None
    service_account: str | None = None
    kms_key_name: str | None = None


class GeminiBatch(LaxTable):
    """``[provider_types.gcp_vertex_gemini.batch]``: where batches are put, if anywhere."""

    storage_type: Literal["cloud_storage", "none"]
    input_uri_prefix: str | None = None
    output_uri_prefix: str | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> GeminiBatch:
        if self.storage_type == "cloud_storage":
            keys = ("input_uri_prefix", "output_uri_prefix")
            refuse([f".{key}: Field required" for key in keys if getattr(self, key) is None])
        return self


class GeminiTypeTable(GcpTypeTable):
    """``[provider_types.gcp_vertex_gemini]``."""

    sft: GeminiSft | None = None
    batch: GeminiBatch | None = None


class ProviderTypes(Table):
    """``[provider_types]``: one table for each type that has any; the types of AWS have none."""

    anthropic: ProviderTypeTable | None = None
    azure: ProviderTypeTable | None = None
    deepseek: ProviderTypeTable | None = None
    fireworks: FireworksTypeTable | None = None
    gcp_vertex_anthropic: GcpTypeTable | None = None
    gcp_vertex_gemini: GeminiTypeTable | None = None
    google_ai_studio_gemini: ProviderTypeTable | None = None
    groq: ProviderTypeTable | None = None
    hyperbolic: ProviderTypeTable | None = None
    mistral: ProviderTypeTable | None = None
    openai: ProviderTypeTable | None = None
    openrouter: ProviderTypeTable | None = None
    sglang: ProviderTypeTable | None = None
    tgi: ProviderTypeTable | None = None
    together: TogetherTypeTable | None = None
    vllm: ProviderTypeTable | None = None
    xai: ProviderTypeTable | None = None

    def get(self, type_: str) -> ProviderTypeTable | GcpTypeTable | None:
        """The table of a type, None if there is none."""
        found: ProviderTypeTable | GcpTypeTable | None = (
            getattr(self, type_) if type_ in type(self).model_fields else None
        )
        return found
