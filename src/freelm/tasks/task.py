"""A task: a data set, its context template, its claims per label, its metrics, its family.

A task is one YAML file, read into `Task`. `Task.example` turns one row into an `Example`, the only
thing that training and evaluation see of a data set.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from freelm.errors import DataError, EmptyRowError, TaskError, describe_validation
from freelm.tasks.proposition import Proposition, normalise
from freelm.tasks.template import known, render, template_fields

QuestionKind = Literal["predicate", "choice", "options", "score"]
MetricName = Literal["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "mae"]
RawLabel = int | float | str | bool

OPTION_FIELDS = ("option", "filled")


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task as propositions, in one phrasing.

    Attributes:
        id: `task/split/row`, for messages and caches.
        context: The parts of the judged text.
        labels: What each claim stands for: label names, or the options of the row.
        claims: One claim per label, in the order of `labels`.
        opposites: The opposite of each claim where the phrasing states one, else empty.
        truths: How true each claim is: 0 or 1, between them for a graded score; None where the
            row has no label.
        target: Index of the right label, or the raw score of a score question; None without label.
    """

    id: str
    context: tuple[str, ...]
    labels: tuple[str, ...]
    claims: tuple[str, ...]
    opposites: tuple[str, ...]
    truths: tuple[float, ...] | None
    target: float | None

    def propositions(self) -> tuple[Proposition, ...]:
        """The propositions of this example, one per claim."""
        return tuple(Proposition(self.context, claim) for claim in self.claims)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(_Part):
    """A data set on the Hugging Face Hub."""

    path: str
    """Repository id, e.g. `nyu-mll/glue`."""
    config: str | None = None
    """Configuration of the data set, e.g. `rte`."""
    splits: dict[str, str] = Field(
        default={"train": "train", "validation": "validation", "test": "test"}
    )
    """Our split name -> the Hub's; a split that is missing or unlabelled there is left out."""


class Source(_Part):
    """Where the rows are; a data root is asked first, then `files`, then the Hub."""

    root: str | None = None
    """Folder below `teacher/` of a data root; None means the task's name."""
    files: dict[str, str] = Field(default_factory=dict)
    """Split -> CSV, JSONL, Parquet file or Hugging Face folder, relative to the YAML file."""
    hub: HubSource | None = None
    """The data set on the Hub."""


class Label(_Part):
    """The column that holds the answer and how its values are named."""

    column: str
    """Column of the label; dots reach into a structure (`answers.key`)."""
    ids: dict[str, RawLabel] = Field(default_factory=dict)
    """Label name -> value in the column (a number for score questions, in rising order)."""
    descriptions: dict[str, str] = Field(default_factory=dict)
    """Label name -> words that fill `{label}` in a phrasing's template."""
    keys: str | None = None
    """Options only: column with one key per option, which the label column names (`A`, `B` ...)."""
    first: int = 0
    """Options only: the number that the label column gives to the first option."""

    @model_validator(mode="before")
    @classmethod
    def _names_as_ids(cls, data: Any) -> Any:
        """`ids: [ham, spam]` means that the column holds the names themselves."""
        if isinstance(data, dict) and isinstance(data.get("ids"), list):
            data = {**data, "ids": {str(name): name for name in data["ids"]}}
        return data


class Options(_Part):
    """Where the options of a row are (question kind `options`)."""

    columns: list[str] = Field(default_factory=list)
    """One column per option; or use `column`."""
    column: str | None = None
    """One column that holds the list of options; dots reach into a structure (`choices.text`)."""
    fill: str | None = None
    """Field with a blank; `{filled}` is that field with the option in the blank's place."""
    blank: str = "_"
    """What marks the blank in `fill`."""


class Phrasing(_Part):
    """One way to put the labels of a task into words."""

    name: str
    claims: dict[str, str] = Field(default_factory=dict)
    """Label -> claim."""
    template: str | None = None
    """Instead of `claims`: one claim for all, with `{label}` (descriptions) or `{option}`."""
    opposites: dict[str, str] = Field(default_factory=dict)
    """Label -> the opposite of its claim, true when the label is wrong."""
    opposite_template: str | None = None
    """Instead of `opposites`, as `template`."""
    held_out: bool = False
    """Never used in training; measures how far the model depends on the wording."""


class Task(_Part):
    """A task definition. Unknown keys are refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.\-/]*$")
    version: int = Field(ge=1)
    family: str
    question: QuestionKind
    reference: str
    """Where the data set was published."""
    source: Source = Source()
    fields: dict[str, str]
    """Field name in templates -> column (dots reach into a structure)."""
    replace: dict[str, str] = Field(default_factory=dict)
    """Literal strings replaced in every field and option, e.g. `<br />` by a space."""
    words: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Field name -> value in the column -> the words it stands for (`hillary`: Hillary Clinton)."""
    context: list[str] = Field(min_length=1)
    """Templates of the context's parts; they are joined by `[sep]`."""
    label: Label
    options: Options | None = None
    phrasings: list[Phrasing] = Field(min_length=1)
    metrics: list[MetricName] = Field(min_length=1)
    report_split: str = "test"
    """The split that figures are reported on."""
    path: Path | None = Field(default=None, exclude=True)
    """The file that this definition was read from."""

    # -- reading ---------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, path: str | Path) -> Task:
        """Read a definition.

        Raises:
            TaskError: If the file cannot be read or the definition has problems (all are named).
        """
        path = Path(path)
        try:
            data = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_SafeLoader)
        except OSError as error:
            raise TaskError(f"{path}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise TaskError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
        except yaml.YAMLError as error:
            raise TaskError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict):
            raise TaskError(f"{path}: must be a mapping with name, family, question, ...")
        try:
            task = cls.model_validate({**data, "path": path})
        except ValidationError as error:
            raise TaskError(f"{path}: {describe_validation(error)}") from None
        problems = task.problems()
        if problems:
            raise TaskError(f"{path}: " + "; ".join(problems))
        return task

    # -- checking --------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What is wrong with this definition, without looking at data; empty when nothing is."""
        found: list[str] = []
        found += self._template_problems()
        found += self._label_problems()
        found += self._phrasing_problems()
        return found

    def _template_problems(self) -> list[str]:
        found = []
        names = set(self.fields)
        if self.question == "options":
            names_in_claims = names | {"option"} | ({"filled"} if self._fill else set())
        else:
            names_in_claims = names | {"label"}
        templates = [(f"context part {i + 1}", t, names) for i, t in enumerate(self.context)]
        for phrasing in self.phrasings:
            where = f"phrasing {phrasing.name!r}"
            for text in (*phrasing.claims.values(), *phrasing.opposites.values()):
                templates.append((where, text, names))
            for given in (phrasing.template, phrasing.opposite_template):
                if given is not None:
                    templates.append((where, given, names_in_claims))
        for where, template, allowed in templates:
            try:
                used = template_fields(template)
            except TaskError as error:
                found.append(f"{where}: {error}")
                continue
            for name in used:
                if name not in allowed:
                    found.append(f"{where}: unknown field {name!r}; {known(allowed)}")
        if not any(_fields_or_none(t) for t in self.context):
            found.append("context: no part uses a field")
        for name in self.words:
            if name not in self.fields:
                found.append(f"words: unknown field {name!r}; {known(self.fields)}")
        return found

    def _label_problems(self) -> list[str]:
        found = []
        if self.question == "options":
            if self.options is None or bool(self.options.columns) == bool(self.options.column):
                found.append("options: give either columns or column")
            if self._fill and self._fill not in self.fields:
                found.append(f"options.fill: unknown field {self._fill!r}; {known(self.fields)}")
            if self.label.ids:
                found.append("label.ids: an options question takes its labels from the row")
            return found
        if self.options is not None:
            found.append("options: only for question kind 'options'")
        ids = self.label.ids
        if self.question == "predicate" and set(ids) != {"true", "false"}:
            found.append("label.ids: a predicate has exactly the labels 'true' and 'false'")
        if len(ids) < 2:
            found.append("label.ids: at least two labels are needed")
        if len({_label_key(value) for value in ids.values()}) < len(ids):
            found.append("label.ids: two labels have the same value")
        if self.question == "score":
            numbers = [v for v in ids.values() if isinstance(v, int | float)]
            if len(numbers) < len(ids) or numbers != sorted(numbers):
                found.append("label.ids: the levels of a score need numbers in rising order")
        for name in self.label.descriptions:
            if name not in ids:
                found.append(f"label.descriptions: unknown label {name!r}; {known(ids)}")
        return found

    def _phrasing_problems(self) -> list[str]:
        found = []
        names = [phrasing.name for phrasing in self.phrasings]
        if len(set(names)) < len(names):
            found.append("phrasings: two have the same name")
        if not any(not phrasing.held_out for phrasing in self.phrasings):
            found.append("phrasings: all are held out, none is left for training")
        for phrasing in self.phrasings:
            found += [f"phrasing {phrasing.name!r}: {p}" for p in self._claim_problems(phrasing)]
        found += self._repeated_claims()
        return found

    def _claim_problems(self, phrasing: Phrasing) -> list[str]:
        if bool(phrasing.claims) == (phrasing.template is not None):
            return ["give either claims or template"]
        if phrasing.opposites and phrasing.opposite_template is not None:
            return ["give either opposites or opposite_template"]
        if self.question == "options":
            if phrasing.template is None:
                return ["an options question needs a template with {option} or {filled}"]
            used = _fields_or_none(phrasing.template) or []
            return [] if set(used) & set(OPTION_FIELDS) else ["template lacks {option} or {filled}"]
        found = []
        for kind, mapping in (("claims", phrasing.claims), ("opposites", phrasing.opposites)):
            if mapping:
                missing = [name for name in self.label.ids if name not in mapping]
                extra = [name for name in mapping if name not in self.label.ids]
                found += [f"label {name!r} has none in {kind}" for name in missing]
                found += [f"unknown label {name!r} in {kind}" for name in extra]
        for text in (phrasing.template, phrasing.opposite_template):
            if text is not None:
                if "label" not in (_fields_or_none(text) or []):
                    found.append("template lacks {label}")
                missing = [n for n in self.label.ids if n not in self.label.descriptions]
                found += [f"label {name!r} has no description" for name in missing]
        return found

    def _repeated_claims(self) -> list[str]:
        """Claims that say the same words: within a phrasing, or held out and trained."""
        found = []
        seen: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for phrasing in self.phrasings:
            own: dict[str, str] = {}
            for label, claim in self._raw_claims(phrasing):
                words = normalise(claim)
                if words in own and own[words] != label:
                    found.append(
                        f"phrasing {phrasing.name!r}: the claims of {own[words]!r} and {label!r} "
                        f"are equal: {claim!r}"
                    )
                own.setdefault(words, label)
                seen[phrasing.held_out].setdefault(words, phrasing.name)
        for words, name in seen[True].items():
            if words in seen[False]:
                found.append(
                    f"held-out phrasing {name!r} repeats a claim of training phrasing "
                    f"{seen[False][words]!r}: {words!r}"
                )
        return found

    def _raw_claims(self, phrasing: Phrasing) -> list[tuple[str, str]]:
        """(label, claim template) of a phrasing, with descriptions filled in."""
        if phrasing.claims:
            return list(phrasing.claims.items())
        template = phrasing.template or ""
        if self.question == "options":
            return [("option", template)]
        return [
            (name, template.replace("{label}", words))
            for name, words in self.label.descriptions.items()
        ]

    # -- phrasings -------------------------------------------------------------------------------

    @property
    def training_phrasings(self) -> list[Phrasing]:
        """The phrasings that training draws from."""
        return [phrasing for phrasing in self.phrasings if not phrasing.held_out]

    @property
    def held_out_phrasings(self) -> list[Phrasing]:
        """The phrasings that training never sees."""
        return [phrasing for phrasing in self.phrasings if phrasing.held_out]

    def columns(self) -> set[str]:
        """The top-level columns that this task reads."""
        paths = [*self.fields.values(), self.label.column]
        if self.options:
            paths += [
                *self.options.columns,
                *([self.options.column] if self.options.column else []),
            ]
        if self.label.keys:
            paths.append(self.label.keys)
        return {path.split(".")[0] for path in paths}

    @property
    def _fill(self) -> str | None:
        return self.options.fill if self.options else None

    # -- rows ------------------------------------------------------------------------------------

    def example(self, row: Mapping[str, Any], row_id: str, phrasing: Phrasing) -> Example:
        """Turn a row into propositions.

        Args:
            row: Column -> value.
            row_id: Name of the row in messages.
            phrasing: One of `phrasings`.

        Raises:
            EmptyRowError: If all parts of the context are empty.
            DataError: If a column is missing, a field is not text, or the label is outside the
                declared set.
        """
        values = {name: self._text(row, path, row_id) for name, path in self.fields.items()}
        for name, words in self.words.items():
            values[name] = words.get(values[name], values[name])
        parts = (render(part, values).strip() for part in self.context)
        context = tuple(part for part in parts if part)  # a review may have no title
        if not context:
            raise EmptyRowError(f"{row_id}: the context is empty")
        if self.question == "options":
            labels = self._row_options(row, row_id)
            claims = self._option_claims(phrasing.template or "", labels, values)
            opposites = self._option_claims(phrasing.opposite_template, labels, values)
            target = self._option_target(row, row_id, labels)
        else:
            labels = tuple(self.label.ids)
            claims = self._label_claims(phrasing.claims, phrasing.template, values)
            opposites = self._label_claims(phrasing.opposites, phrasing.opposite_template, values)
            target = self._label_target(row, row_id)
        truths = None if target is None else self._truths(target, len(labels))
        return Example(row_id, context, labels, claims, opposites, truths, target)

    def _text(self, row: Mapping[str, Any], path: str, row_id: str) -> str:
        value = _lookup(row, path, row_id)
        if isinstance(value, list | tuple):
            value = " ".join(str(item) for item in value)
        if isinstance(value, Mapping):
            raise DataError(f"{row_id}: column {path!r} is not text; {known(map(str, value))}")
        return self._clean("" if _is_missing(value) else value)

    def _clean(self, value: Any) -> str:
        text = str(value)
        for old, new in self.replace.items():
            text = text.replace(old, new)
        return text.strip()

    def _row_options(self, row: Mapping[str, Any], row_id: str) -> tuple[str, ...]:
        assert self.options is not None
        if self.options.column:
            values = _lookup(row, self.options.column, row_id)
        else:
            values = [_lookup(row, column, row_id) for column in self.options.columns]
        if not isinstance(values, list | tuple) or len(values) < 2:
            raise DataError(f"{row_id}: fewer than two options")
        return tuple(self._clean(value) for value in values)

    def _option_claims(
        self, template: str | None, options: tuple[str, ...], values: dict[str, str]
    ) -> tuple[str, ...]:
        if template is None:
            return ()
        claims = []
        for option in options:
            filled = {}
            if self._fill and self.options:
                filled = {"filled": values[self._fill].replace(self.options.blank, option)}
            claims.append(render(template, {**values, **filled, "option": option}))
        return tuple(claims)

    def _label_claims(
        self, claims: dict[str, str], template: str | None, values: dict[str, str]
    ) -> tuple[str, ...]:
        if claims:
            return tuple(render(claims[name], values) for name in self.label.ids)
        if template is None:
            return ()
        words = self.label.descriptions
        return tuple(render(template, {**values, "label": words[n]}) for n in self.label.ids)

    def _option_target(
        self, row: Mapping[str, Any], row_id: str, options: tuple[str, ...]
    ) -> float | None:
        raw = _lookup(row, self.label.column, row_id)
        if _is_unlabelled(raw):
            return None
        if self.label.keys:
            keys = [_label_key(key) for key in _lookup(row, self.label.keys, row_id)]
            key = _label_key(raw)
            if key not in keys:
                raise DataError(f"{row_id}: label {raw!r} is none of the keys {', '.join(keys)}")
            return keys.index(key)
        try:
            index = int(_label_key(raw)) - self.label.first
        except (TypeError, ValueError):
            index = -1
        if not 0 <= index < len(options):
            raise DataError(f"{row_id}: label {raw!r} names none of the {len(options)} options")
        return index

    def _label_target(self, row: Mapping[str, Any], row_id: str) -> float | None:
        raw = _lookup(row, self.label.column, row_id)
        keys = [_label_key(value) for value in self.label.ids.values()]
        if _is_unlabelled(raw, keys):
            return None
        if self.question == "score":
            return self._score_target(raw, row_id)
        key = _label_key(raw)
        if key not in keys:
            raise DataError(
                f"{row_id}: label {raw!r} in column {self.label.column!r} is outside the declared "
                f"set {', '.join(keys)}"
            )
        return keys.index(key)

    def _score_target(self, raw: Any, row_id: str) -> float:
        levels = self.levels
        try:
            value = float(raw)
        except (TypeError, ValueError):
            value = math.nan
        if not levels[0] <= value <= levels[-1]:
            raise DataError(
                f"{row_id}: score {raw!r} is outside the range {levels[0]:g} to {levels[-1]:g}"
            )
        return value

    @property
    def levels(self) -> list[float]:
        """The numbers of a score question's levels, rising."""
        return [float(value) for value in self.label.ids.values()]

    def _truths(self, target: float, num_labels: int) -> tuple[float, ...]:
        if self.question != "score":
            return tuple(float(i == target) for i in range(num_labels))
        # A score between two levels makes both partly true: 3.4 -> level 3 by 0.6, level 4 by 0.4.
        levels = self.levels
        truths = [0.0] * len(levels)
        upper = next(i for i, level in enumerate(levels) if target <= level)
        if levels[upper] == target:
            truths[upper] = 1.0
        else:
            share = (target - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
            truths[upper - 1], truths[upper] = 1.0 - share, share
        return tuple(truths)


class _SafeLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """`yaml.safe_load` in C where it is there, refusing a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [_key_name(self.construct_object(key, deep=True)) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", node.start_mark
                )
        mapping = super().construct_mapping(node, deep=deep)
        return {_key_name(key): value for key, value in mapping.items()}


def _key_name(key: Any) -> Any:
    """YAML reads the label names true and false as booleans when they are not quoted."""
    return str(key).lower() if isinstance(key, bool) else key


def _fields_or_none(template: str) -> list[str] | None:
    try:
        return template_fields(template)
    except TaskError:
        return None


def _lookup(row: Mapping[str, Any], path: str, row_id: str) -> Any:
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            names = value if isinstance(value, Mapping) else row
            raise DataError(f"{row_id}: no column {path!r}; {known(map(str, names))}")
        value = value[key]
    return value


def _label_key(value: Any) -> str:
    """Make 1, 1.0, True and "1" one label: files differ in how they store a number."""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _is_unlabelled(raw: Any, declared: Collection[str] = ()) -> bool:
    """The Hub marks rows without a public label by -1 (or leaves them empty).

    Where -1 is one of the declared labels, it is that label.
    """
    return _is_missing(raw) or (_label_key(raw) in {"-1", ""} and _label_key(raw) not in declared)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
