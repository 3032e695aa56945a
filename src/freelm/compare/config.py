"""The configuration of a comparison: one YAML file, validated before anything starts.

Unknown keys are errors. The text under each field is its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from freelm.config import (
    PositiveFloat,
    PositiveInt,
    RunConfig,
    Section,
    parse_config,
    read_settings,
    shipped_config,
)
from freelm.errors import ConfigError, describe_validation, suggest

KINDS = {
    "language_only": "raw text alone",
    "teacher_only": "propositions alone",
    "alternate": "raw text and propositions in alternating steps",
    "mixed": "raw text and propositions in every step",
    "sequential": "raw text first, then propositions",
    "label_words": "plain fine-tuning on all tasks: label words, no propositions",
    "label_words_with_language": "the same together with raw text",
    "per_task": "one model per task, fine-tuned on label words with an equal part of the budget",
    "in_context": "demonstrations before the text, label words by likelihood, no training",
    "untrained": "the base as it is, prompted whether a claim is true",
}
"""Kind of an arm -> its description."""

UNTRAINED = ("in_context", "untrained")
"""Kinds without training."""

SHARED = ("mixed", "sequential")
"""Kinds that take a language share."""

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Budget(Section):
    """What every trained arm gets: tokens or seconds."""

    tokens: PositiveInt | None = None
    """Tokens of both signals, without padding."""
    seconds: PositiveFloat | None = None
    """Seconds in optimizer steps. A short pilot run of each arm measures how many steps that is, so
    it depends on the machine and its load."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Budget:
        if (self.tokens is None) == (self.seconds is None):
            raise ValueError("give either tokens or seconds")
        return self

    @property
    def words(self) -> str:
        """The budget as it is stated next to the results."""
        if self.tokens is not None:
            return f"equal tokens: {self.tokens:,} for each trained arm"
        return f"equal time: {self.seconds:g} seconds of training steps for each trained arm"


class Arm(Section):
    """One way to get a model."""

    name: Name
    """Name in the tables, and of its folder."""
    kind: str
    """One of `KINDS`."""
    language_share: Share | None = None
    """Share of raw text in the tokens; for `mixed` (default: as in the run's configuration) and
    `sequential` (default: one half; of a budget in seconds, its share of them)."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Number of demonstrations before every text; for `in_context`."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes of the run's configuration for this arm only."""

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; {suggest(kind, KINDS)}")
        return kind

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Arm:
        if self.language_share is not None and self.kind not in SHARED:
            raise ValueError(f"language_share is for {' and '.join(SHARED)}, not {self.kind}")
        if (self.kind == "in_context") != (self.shots is not None):
            raise ValueError("shots are for in_context, which needs them")
        if self.kind in UNTRAINED and self.overrides:
            raise ValueError(f"{self.kind} trains nothing: overrides would change nothing")
        return self


class Evaluation(Section):
    """What every arm is measured on."""

    tasks: list[str] | None = None
    """Tasks of the battery, and tasks of families that are not in the battery, which are reported
    as unseen. None means the battery."""
    limit: PositiveInt | None = None
    """Maximum number of rows per task (a random sample of its report split, the same for all
    arms); None means all."""
    corpus: str | None = None
    """Corpus on whose test split perplexity is measured; None skips it."""
    window: Annotated[int, Field(ge=2)] = 512
    """Tokens per window of the perplexity."""
    windows: PositiveInt | None = None
    """Maximum number of windows; None means all."""
    held_out_phrasings: bool = False
    """Also ask the tasks of the battery in their first held-out phrasing."""


class CompareConfig(Section):
    """A comparison."""

    name: Name
    """Name of the comparison and, by default, of its folder below `runs/compare/`."""
    base: str
    """The run that the arms are variants of: a YAML file or the name of a shipped one."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes of that run for all arms, with its keys. Lists, and the mappings of corpora and
    weights, are replaced, not merged."""
    budget: Budget
    seeds: list[Seed] = Field(default=[0], min_length=1)
    """Every arm is trained once with each seed."""
    arms: list[Arm] = Field(min_length=1)
    """The others are compared with the first one."""
    evaluate: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _no_duplicates(self) -> CompareConfig:
        named: dict[str, list[Any]] = {
            "arm": [arm.name for arm in self.arms],
            "seed": list(self.seeds),
        }
        for what, listed in named.items():
            for item in listed:
                if listed.count(item) > 1:
                    raise ValueError(f"{what} {item!r} is listed twice")
        return self


def load_compare(path: str | Path, overrides: list[str] | None = None) -> CompareConfig:
    """Read the configuration of a comparison.

    Args:
        path: YAML file.
        overrides: `key.path=value` strings; values are read as YAML.

    Raises:
        ConfigError: If the file cannot be read or is invalid (every error is named).
    """
    try:
        return CompareConfig.model_validate(read_settings(path, overrides))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation(error)}") from None


def base_run(config: CompareConfig, folder: Path) -> RunConfig:
    """The run that the arms are variants of.

    Args:
        config: The comparison.
        folder: Folder of its file; a relative path is looked up in the working directory first.

    Raises:
        ConfigError: If the run does not exist or is invalid with its overrides.
    """
    name, is_file = config.base, config.base.endswith((".yaml", ".yml"))
    candidates = [Path(name), folder / name] if is_file else [shipped_config(name)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        what = "file" if is_file else "shipped configuration (file names end in .yaml)"
        raise ConfigError(f"base {name!r}: no such {what}")
    settings = read_settings(path)
    return parse_config(
        merge_settings(settings, config.overrides), f"base {name!r} with its overrides"
    )


def merge_settings(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A run's settings with changes: sections are merged, values replaced."""
    return _merge(RunConfig, settings, changes)


def _merge(
    section: type[Section], settings: dict[str, Any], changes: dict[str, Any]
) -> dict[str, Any]:
    result = dict(settings)
    for key, value in changes.items():
        inner, before = _section_of(section, key), settings.get(key)
        if inner and isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merge(inner, before, value)
        else:
            result[key] = value
    return result


def _section_of(section: type[Section], key: str) -> type[Section] | None:
    """The type of the section at a key, None if the key holds a value."""
    if key not in section.model_fields:
        return None
    annotation = section.model_fields[key].annotation
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)
