"""The configuration of a comparison: one YAML file, checked whole before anything starts.

Unknown keys are refused. The text under each field is its documentation.
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
    "alternate": "raw text and propositions by turns",
    "mixed": "raw text and propositions in every step",
    "sequential": "raw text first, then propositions",
    "label_words": "plain fine-tuning on all tasks: label words, no propositions",
    "label_words_with_language": "the same beside raw text",
    "per_task": "one model a task, fine-tuned to its label words with an equal part of the budget",
    "in_context": "demonstrations before the text, label words by likelihood, nothing trained",
    "untrained": "the base as it is, asked in words whether a claim is true",
}
"""Kind of an arm -> what it is, in words."""

UNTRAINED = ("in_context", "untrained")
"""Kinds that train nothing themselves."""

SHARED = ("mixed", "sequential")
"""Kinds that take a language share."""

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Budget(Section):
    """What every trained arm may spend: tokens or seconds."""

    tokens: PositiveInt | None = None
    """Tokens of both signals, without padding."""
    seconds: PositiveFloat | None = None
    """Seconds in optimizer steps. How many steps that is, is measured on a few steps at the start
    of each arm, so it depends on the machine and on what else runs on it."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Budget:
        if (self.tokens is None) == (self.seconds is None):
            raise ValueError("give either tokens or seconds")
        return self

    @property
    def words(self) -> str:
        """The budget as it is stated beside the figures."""
        if self.tokens is not None:
            return f"equal tokens: {self.tokens:,} for each trained arm"
        return f"equal time: {self.seconds:g} seconds of training steps for each trained arm"


class Arm(Section):
    """One way to come to a model."""

    name: Name
    """Name in the tables, and of its folder."""
    kind: str
    """One of `KINDS`."""
    language_share: Share | None = None
    """Share of raw text in the tokens; for `mixed` (without it, what the run's configuration comes
    to) and `sequential` (without it, one half; of a budget in seconds its share of these)."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Demonstrations before every text; for `in_context`."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes of the run's configuration for this arm alone."""

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
            raise ValueError("shots are needed by in_context, and by no other kind")
        if self.kind in UNTRAINED and self.overrides:
            raise ValueError(f"{self.kind} trains nothing: overrides would change nothing")
        return self


class Evaluation(Section):
    """What every arm is measured on."""

    tasks: list[str] | None = None
    """Tasks: those of the battery, and others of families that the battery does not hold, which are
    reported as unseen. None means the battery."""
    limit: PositiveInt | None = None
    """Rows per task at most (of its report split, drawn at random, the same
    for every arm); None means all."""
    corpus: str | None = None
    """Corpus on whose test split perplexity is measured; None measures none."""
    window: Annotated[int, Field(ge=2)] = 512
    """Tokens of a window of perplexity."""
    windows: PositiveInt | None = None
    """Windows at most; None means all."""


class CompareConfig(Section):
    """A comparison."""

    name: Name
    """Name of the comparison and, by default, of its folder below `runs/compare/`."""
    base: str
    """The run that the arms are variants of: a YAML file, or the name of a shipped one."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes of that run for all arms: keys as in its file. Lists and the mappings of corpora and
    weights are replaced, not merged."""
    budget: Budget
    seeds: list[Seed] = Field(default=[0], min_length=1)
    """Every arm is done once with each seed."""
    arms: list[Arm] = Field(min_length=1)
    """The first one is the one that the others are compared with."""
    evaluate: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _nothing_twice(self) -> CompareConfig:
        named: dict[str, list[Any]] = {
            "arm": [arm.name for arm in self.arms],
            "seed": list(self.seeds),
        }
        for what, listed in named.items():
            for item in listed:
                if listed.count(item) > 1:
                    raise ValueError(f"{what} {item!r} stands twice")
        return self


def load_compare(path: str | Path, overrides: list[str] | None = None) -> CompareConfig:
    """Read the configuration of a comparison.

    Args:
        path: YAML file.
        overrides: `key.path=value` strings; values are read as YAML.

    Raises:
        ConfigError: If the file cannot be read or something in it is wrong (all of it is named).
    """
    try:
        return CompareConfig.model_validate(read_settings(path, overrides))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation(error)}") from None


def base_run(config: CompareConfig, beside: Path) -> RunConfig:
    """The run that the arms are variants of.

    Args:
        config: The comparison.
        beside: Folder of its file, where a relative path is looked up after the working directory.

    Raises:
        ConfigError: If there is no such run, or with its overrides it is wrong.
    """
    name, is_file = config.base, config.base.endswith((".yaml", ".yml"))
    places = [Path(name), beside / name] if is_file else [shipped_config(name)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        what = "file" if is_file else "shipped configuration (a file's name ends in .yaml)"
        raise ConfigError(f"base {name!r}: no such {what}")
    settings = read_settings(path)
    return parse_config(merged(settings, config.overrides), f"base {name!r} with its overrides")


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run with some of them changed: sections are merged, values replaced."""
    return _merged(RunConfig, settings, changes)


def _merged(
    section: type[Section], settings: dict[str, Any], changes: dict[str, Any]
) -> dict[str, Any]:
    result = dict(settings)
    for key, value in changes.items():
        inner, before = _section_of(section, key), settings.get(key)
        if inner and isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merged(inner, before, value)
        else:
            result[key] = value
    return result


def _section_of(section: type[Section], key: str) -> type[Section] | None:
    """The section that a key holds, None where it holds a value."""
    if key not in section.model_fields:
        return None
    annotation = section.model_fields[key].annotation
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)
