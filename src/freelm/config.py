"""The configuration of a run: one YAML file, validated completely before anything starts.

Unknown keys are refused. The text under each field is its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from freelm.errors import ConfigError, describe_validation
from freelm.io.strict_yaml import read_yaml

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ScratchConfig(Section):
    """Shape of a model that is trained from scratch (Llama architecture)."""

    hidden_size: PositiveInt = 128
    """Width of the model."""
    intermediate_size: PositiveInt = 384
    """Width of the feed-forward layers."""
    num_layers: PositiveInt = 4
    """Transformer layers."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide `hidden_size`."""
    vocab_size: PositiveInt = 1024
    """Tokens of the tokenizer, which is trained on the run's own text."""
    max_positions: PositiveInt = 1024
    """Longest text in tokens."""
    init_std: PositiveFloat = 0.06
    """Standard deviation of the random weights; narrow models need more than the usual 0.02."""

    @model_validator(mode="after")
    def _heads_divide(self) -> ScratchConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide {self.hidden_size}")
        return self


class LoraSettings(Section):
    """Adapter training; leave it out to train all weights."""

    rank: PositiveInt = 32
    """Rank of the added matrices."""
    alpha: PositiveInt = 32
    """Scale of the added matrices is alpha / rank."""
    dropout: Fraction = 0.0
    """Dropout before the added matrices."""
    start: str | None = None
    """Model folder or release with an adapter of this base, rank and alpha to start from; without
    it the adapter starts at zero."""


class ModelConfig(Section):
    """What is trained."""

    base: str | None = None
    """Base to start from: `base/smollm2-135m`, a folder, a GGUF file or a Hub id."""
    scratch: ScratchConfig | None = None
    """Instead of a base: start from random weights."""
    lora: LoraSettings | None = None
    """Train a LoRA adapter; without it all weights are trained."""
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    """Compute type; weights under training are fp32 either way. `int8`, for a CPU made for it and
    with lora alone: products with the frozen weights are rounded (`freelm.model.compute.int8`)."""

    @model_validator(mode="after")
    def _one_start(self) -> ModelConfig:
        if (self.base is None) == (self.scratch is None):
            raise ValueError("give either base or scratch")
        if self.scratch is not None and self.lora is not None:
            raise ValueError("lora needs a base; random weights are all trained")
        if self.precision == "int8" and self.lora is None:
            raise ValueError("precision int8 rounds frozen weights; it needs lora")
        return self


class LanguageConfig(Section):
    """The language signal."""

    corpora: dict[str, PositiveFloat] = Field(min_length=1)
    """Corpus of the data root -> share of the blocks."""
    block_length: Annotated[int, Field(ge=8)] = 512
    """Tokens in a block."""
    blocks_per_step: PositiveInt = 4
    """Blocks in one language step."""


class TeacherConfig(Section):
    """The teacher signal."""

    tasks: list[str] = Field(min_length=1)
    """Names of shipped tasks, patterns of names such as `task*`, or paths of task files."""
    target: Literal["propositions", "label_words"] = "propositions"
    """What is learned of a row: whether propositions about it are true; or, as plain fine-tuning
    does it and without any proposition, the words of its label (`freelm.tasks.label_word_task`)."""
    examples_per_step: PositiveInt = 32
    """Rows in one teacher step."""
    temperature: PositiveFloat = 1.0
    """Mixing temperature: 1 is proportional to size, large values equal shares."""
    cap: PositiveInt | None = None
    """Rows beyond this many do not raise a task's share."""
    weights: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Task -> factor on its share."""
    group_size: PositiveInt = 6
    """Consecutive rows of one task, in one phrasing and with labels in the task's proportions.
    In a small step of many tasks, phrasings and labels, one claim is true more often than another
    by chance, and this noise is larger than the signal."""
    max_false_claims: PositiveInt = 3
    """False claims drawn for an example of a task with many labels."""
    opposite_rate: Fraction = 0.0
    """Chance that a claim is replaced by its stated opposite."""
    forms: Literal["sentences", "all"] | dict[str, PositiveFloat] = "sentences"
    """Forms in which claims are trained (`freelm.tasks.forms`): sentences of the task definitions,
    all forms at the rates of `freelm.data.mixture.FORM_RATES`, or form -> rate."""
    changes: Literal["none", "all"] | dict[str, Fraction] = "none"
    """Changes of contexts that keep their meaning: none, all at the rates of
    `freelm.data.changes.CHANGE_RATES`, or change -> probability."""
    swap_rate: Fraction = 0.0
    """Chance that the two texts of a symmetric task are exchanged."""
    level_mass: Annotated[float, Field(ge=0, le=0.3, allow_inf_nan=False)] = 0.0
    """Probability mass that each neighbour of a score's level gets as its target."""
    max_context_tokens: Annotated[int, Field(ge=8)] = 256
    """Longer contexts lose the end of their longest part."""
    listwise_weight: NonNegativeFloat = 0.0
    """Weight of a softmax over the options of one example, added to the verdict loss."""
    validation_rows: PositiveInt = 100
    """Validation rows per task (for the best checkpoint and the temperatures): from a split that is
    neither trained nor reported on if there is one, otherwise held out of the training split."""
    drop_overlaps: bool = True
    """Leave out training rows that are evaluation rows of another task (`overlaps.json`)."""

    @model_validator(mode="after")
    def _label_words_have_one_form(self) -> TeacherConfig:
        if self.target == "label_words" and self.forms != "sentences":
            raise ValueError("target label_words has no forms: drop forms")
        return self


class InteractionConfig(Section):
    """How the two signals take turns."""

    kind: Literal["alternate", "mixed", "language_only", "teacher_only", "sequential"] = "alternate"
    """`alternate`: rounds of language and teacher steps (the paper); `mixed`: both in every step
    (its successor); `sequential`: all language steps, then all teacher steps."""
    language_steps: PositiveInt = 1
    """Language steps in a round; for `sequential` in the run."""
    teacher_steps: PositiveInt = 1
    """Teacher steps in a round."""
    language_weight: PositiveFloat = 1.0
    """Factor on the language loss."""
    teacher_weight: PositiveFloat = 1.0
    """Factor on the teacher loss."""


class OptimizerConfig(Section):
    """AdamW and its learning rate."""

    learning_rate: PositiveFloat = 1e-3
    """Highest learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps of linear rise."""
    stable_steps: Annotated[int, Field(ge=0)] = 0
    """Steps at the highest rate before the decay begins."""
    decay: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the decay, which ends with the last step."""
    final_fraction: Fraction = 0.0
    """Learning rate at the last step as a fraction of the highest."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay, on matrices only (and not on the embeddings)."""
    embedding_rate: PositiveFloat = 1.0
    """Learning rate of the embeddings as a fraction of `learning_rate`."""
    beta1: Decay = 0.9
    """Decay of the gradient's running mean."""
    beta2: Decay = 0.98
    """Decay of the squared gradient's running mean."""
    clip_norm: PositiveFloat | None = 1.0
    """Gradients are scaled down to this norm; null means never."""


class TrainConfig(Section):
    """The loop."""

    num_steps: PositiveInt
    """Optimizer steps."""
    tokens_per_batch: Annotated[int, Field(ge=32)] = 2048
    """Tokens computed at once; a step with more is split, which changes memory, not the result."""
    row_length: Annotated[int, Field(ge=8)] = 256
    """Trees are packed into rows of about this many tokens."""
    checkpoint_activations: bool = False
    """Keep the input of each layer alone and compute the rest again in the backward pass: less
    memory for steps that take a third longer."""
    compile: bool = False
    """Compile forward and backward pass: minutes at the first start, for steps that take a fifth
    less time. It needs a C++ compiler on a CPU."""
    checkpoint_every: PositiveInt = 200
    """Steps between checkpoints."""
    keep_last: PositiveInt = 2
    """Number of newest checkpoints that are not deleted."""
    evaluate_every: PositiveInt | None = None
    """Steps between evaluations on the validation rows; null means only at the end."""
    keep_best: bool = False
    """The final model is the best evaluated checkpoint instead of the last one."""
    patience: PositiveInt | None = None
    """Stop after this many evaluations without a better one; null means never."""

    @model_validator(mode="after")
    def _needs_evaluation(self) -> TrainConfig:
        if (self.keep_best or self.patience) and self.evaluate_every is None:
            raise ValueError("keep_best and patience need evaluate_every")
        if self.checkpoint_activations and self.compile:
            raise ValueError("checkpoint_activations and compile exclude one another")
        return self


class RunConfig(Section):
    """A training run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the run and, by default, of its folder below `runs/`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, order and drawing."""
    data: str | None = None
    """Data root: a folder or `miniworld`; null means `--data`, `FREELM_DATA` or the Hub."""
    model: ModelConfig
    language: LanguageConfig | None = None
    """Needed by every interaction but `teacher_only`."""
    teacher: TeacherConfig | None = None
    """Needed by every interaction but `language_only`."""
    interaction: InteractionConfig = InteractionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig

    @model_validator(mode="after")
    def _signals_are_there(self) -> RunConfig:
        kind = self.interaction.kind
        if self.language is None and kind != "teacher_only":
            raise ValueError(f"interaction {kind!r} needs a language section")
        if self.teacher is None and kind != "language_only":
            raise ValueError(f"interaction {kind!r} needs a teacher section")
        if kind == "sequential" and self.interaction.language_steps >= self.train.num_steps:
            raise ValueError("sequential: language_steps must be smaller than num_steps")
        if self.teacher and self.teacher.target == "label_words" and self.train.evaluate_every:
            raise ValueError("label_words have no verdicts to evaluate: drop evaluate_every")
        return self


def shipped_config(name: str) -> Path:
    """The file of a shipped configuration: in the package, or `configs/` of a checkout."""
    packaged = Path(__file__).parent / "configs" / f"{name}.yaml"
    return (
        packaged if packaged.is_file() else Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    )


def load_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run's configuration.

    Args:
        path: YAML file.
        overrides: `key.path=value` strings; values are read as YAML.

    Raises:
        ConfigError: If the file cannot be read or something in it is wrong (all of it is named).
    """
    return parse_config(read_settings(path, overrides), str(path))


def read_settings(path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """The keys and values of a configuration file, unchecked.

    Args:
        path: YAML file.
        overrides: `key.path=value` strings; values are read as YAML.

    Raises:
        ConfigError: If the file or an override cannot be read or is not a mapping.
    """
    path = Path(path)
    data = read_yaml(path, ConfigError)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping with name, model, train, ...")
    for override in overrides or []:
        _apply(data, override)
    return data


def parse_config(data: dict[str, Any], where: str) -> RunConfig:
    """Check a configuration that is already in memory.

    Raises:
        ConfigError: If something in it is wrong (all of it is named).
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {describe_validation(error)}") from None


def differing_keys(old: RunConfig, new: RunConfig) -> list[str]:
    """Dotted keys at which two configurations differ."""
    return _differences(old.model_dump(), new.model_dump(), "")


def _differences(old: Any, new: Any, prefix: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            d for key in keys for d in _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        ]
    return [] if old == new else [prefix.rstrip(".")]


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: write key.path=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        child = place[parent] = {} if place.get(parent) is None else place[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds no keys")
        place = child
    place[last] = value
