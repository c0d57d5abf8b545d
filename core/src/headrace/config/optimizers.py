"""``[optimizers]``: tables of every type (spec/optimization.md 2), for those whose plugin is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, FiniteFloat, PositiveInt, TypeAdapter, ValidationError, model_validator

from ..retries import Retries
from .base import U32, U64, ByType, NotNegative, Table
from .problems import describe


class OpenAISftTable(Table):
    """``type = "openai_sft"``."""

    type: Literal["openai_sft"]
    model: str
    batch_size: PositiveInt | None = None
    learning_rate_multiplier: FiniteFloat | None = None
    n_epochs: PositiveInt | None = None
    seed: U64 | None = None
    suffix: str | None = None


class OpenAIRftTable(Table):
    """``type = "openai_rft"``; ``grader`` is OpenAI's own object."""

    type: Literal["openai_rft"]
    model: str
    grader: dict[str, Any]
    response_format: dict[str, Any] | None = None
    batch_size: PositiveInt | None = None
    compute_multiplier: FiniteFloat | None = None
    eval_interval: PositiveInt | None = None
    eval_samples: PositiveInt | None = None
    learning_rate_multiplier: FiniteFloat | None = None
    n_epochs: PositiveInt | None = None
    reasoning_effort: str | None = None
    seed: U64 | None = None
    suffix: str | None = None


class FireworksSftTable(Table):
    """``type = "fireworks_sft"``; ``batch_size`` counts tokens."""

    type: Literal["fireworks_sft"]
    model: str
    early_stop: bool | None = None
    epochs: PositiveInt | None = None
    learning_rate: FiniteFloat | None = None
    max_context_length: PositiveInt | None = None
    lora_rank: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    display_name: str | None = None
    output_model: str | None = None
    warm_start_from: str | None = None
    is_turbo: bool | None = None
    eval_auto_carveout: bool | None = None
    nodes: PositiveInt | None = None
    mtp_enabled: bool | None = None
    mtp_num_draft_tokens: PositiveInt | None = None
    mtp_freeze_base_model: bool | None = None
    deploy_after_training: bool = False


class GeminiSftTable(Table):
    """``type = "gcp_vertex_gemini_sft"``."""

    type: Literal["gcp_vertex_gemini_sft"]
    model: str
    learning_rate_multiplier: FiniteFloat | None = None
    adapter_size: PositiveInt | None = None
    n_epochs: PositiveInt | None = None
    export_last_checkpoint_only: bool | None = None
    seed: U64 | None = None
    tuned_model_display_name: str | None = None


class SchedulerTable(Table):
    """``lr_scheduler`` of Together."""

    lr_scheduler_type: Literal["linear", "cosine"] = "linear"
    min_lr_ratio: NotNegative = 0.0
    num_cycles: NotNegative = 0.0


class TrainingMethodTable(Table):
    """``training_method`` of Together."""

    method: Literal["sft"] = "sft"
    train_on_inputs: bool | Literal["auto"] = "auto"


class TrainingTypeTable(Table):
    """``training_type`` of Together; its names are capitalised, but documents show them in lower case."""

    type: Literal["Lora", "Full", "lora", "full"]
    lora_r: U64 = 8
    lora_alpha: U64 = 16
    lora_dropout: NotNegative = 0.0
    lora_trainable_modules: str = "all-linear"


class TogetherSftTable(Table):
    """``type = "together_sft"``."""

    type: Literal["together_sft"]
    model: str
    n_epochs: PositiveInt = 1
    n_checkpoints: PositiveInt = 1
    n_evals: U64 | None = None
    batch_size: PositiveInt | Literal["max"] = "max"
    learning_rate: FiniteFloat = 1e-5
    warmup_ratio: NotNegative = 0.0
    max_grad_norm: NotNegative = 1.0
    weight_decay: NotNegative = 0.0
    suffix: str | None = None
    lr_scheduler: SchedulerTable = SchedulerTable()
    wandb_name: str | None = None
    training_method: TrainingMethodTable = TrainingMethodTable()
    training_type: TrainingTypeTable = TrainingTypeTable(type="Lora")
    from_checkpoint: str | None = None
    from_hf_model: str | None = None
    hf_model_revision: str | None = None
    hf_output_repo_name: str | None = None


class DiclTable(Table):
    """``type = "dicl"``."""

    type: Literal["dicl"]
    embedding_model: str
    variant_name: str
    function_name: str
    dimensions: U32 | None = None
    batch_size: PositiveInt = 128
    max_concurrency: PositiveInt = 10
    k: U32 = 10
    model: str = "openai::gpt-4o-mini-2024-07-18"
    append_to_existing_variants: bool = False


class GepaTable(Table):
    """``type = "gepa"``; ``timeout`` in seconds, of each call of the gateway."""

    type: Literal["gepa"]
    function_name: str
    evaluation_name: str | None = None
    evaluator_names: list[str] | None = None
    analysis_model: str
    mutation_model: str
    initial_variants: list[str] | None = None
    variant_prefix: str | None = None
    batch_size: PositiveInt = 5
    max_iterations: U32 = 1
    max_concurrency: PositiveInt = 10
    seed: U32 | None = None
    timeout: U64 = Field(default=300)
    include_inference_for_mutation: bool = True
    retries: Retries = Retries()
    max_tokens: U32 | None = None

    @model_validator(mode="after")
    def _one_judge(self) -> GepaTable:
        if (self.evaluation_name is None) == (self.evaluator_names is None):
            raise ValueError("give exactly one of `evaluator_names` and `evaluation_name` (deprecated)")
        if self.evaluator_names is not None and not self.evaluator_names:
            raise ValueError(".evaluator_names: must name at least one evaluator")
        return self


OptimizerTable: TypeAlias = Annotated[
    OpenAISftTable | OpenAIRftTable | FireworksSftTable | GeminiSftTable | TogetherSftTable | DiclTable | GepaTable,
    ByType(),
]

_OPTIMIZER: TypeAdapter[Any] = TypeAdapter(OptimizerTable)


def check_optimizer(table: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with an optimizer's table at the key ``where``, whether or not its plugin is installed."""
    try:
        _OPTIMIZER.validate_python(dict(table))
    except ValidationError as error:
        return describe(error, where)
    return []
