"""The parts of a task definition: the source of its rows, fields, labels, phrasings and forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

QuestionKind = Literal["predicate", "choice", "options", "score"]
MetricName = Literal["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "mae"]
RawLabel = int | float | str | bool
CheckAnswer = Literal["supported", "contradicted", "not_stated"]
YES_NO = {"true": "Yes", "false": "No"}


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


class Statement(_Part):
    """A task on pairs of texts whose second text can be judged as a claim about the first."""

    context: list[str] = Field(min_length=1)
    """Fields that make up the context."""
    claim: str
    """Field that is the claim."""
    true: list[str] = Field(min_length=1)
    """Labels of the rows whose claim is true, that is, entailed by the context."""
    check: dict[CheckAnswer, list[str]] = Field(default_factory=dict)
    """Answer of a three-way check -> labels of the rows with that answer."""

    @field_validator("context", "true", mode="before")
    @classmethod
    def _list_of_one(cls, value: Any) -> Any:
        return _listed(value)

    @field_validator("check", mode="before")
    @classmethod
    def _lists_of_one(cls, value: Any) -> Any:
        return _listed_values(value)


class Licence(_Part):
    """What is stated about the use of the rows."""

    noncommercial: bool = False
    """Whether commercial use is forbidden."""
    text: str = ""
    """The licence as stated, e.g. `CC BY-NC 4.0`."""


class Definition(_Part):
    """A task definition as its file states it. Unknown keys are refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.\-/]*$")
    version: int = Field(default=1, ge=1)
    """Raised when a change of fields, labels or phrasings can change a figure of the task, so that
    figures of two versions are never compared. Words for further forms change none."""
    family: str
    """Tasks of one kind; generalisation is measured by leaving out whole families."""
    question: QuestionKind
    reference: str = ""
    """Where the data set was published; a task of your own may leave it out."""
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
    asks: list[str] = Field(default_factory=list)
    """The question in plain words, or several wordings of it; may use fields."""
    asks_if: str | dict[str, str] | None = None
    """A yes/no question about each label: a template with `{label}`, or label -> question."""
    names: dict[str, list[str]] = Field(default_factory=dict)
    """Label -> its name as an option, as it would stand inside a sentence; or several names."""
    descriptions: dict[str, str] = Field(default_factory=dict)
    """Label -> a sentence that says when it is right; may use fields."""
    statement: Statement | None = None
    """For entailment and similar tasks."""
    symmetric: tuple[str, str] | None = None
    """Two fields that can be exchanged without changing the label."""
    without_forms: list[str] = Field(default_factory=list)
    """Forms that make no sense for this task although it has the words for them."""
    licence: Licence = Licence()
    """Terms of use of the rows."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Factor on the task's mixing rate; below 1 for noisy or nearly duplicate rows."""
    note: str = ""
    """Anything that a reader of the definition should know."""
    metrics: list[MetricName] = Field(default=["accuracy"], min_length=1)
    """Without it: accuracy; for a score question Pearson's and Spearman's correlation."""
    report_split: str = "test"
    """The split that figures are reported on."""
    path: Path | None = Field(default=None, exclude=True)
    """The file that this definition was read from."""

    @field_validator("asks", "without_forms", mode="before")
    @classmethod
    def _list_of_one(cls, value: Any) -> Any:
        return _listed(value)

    @field_validator("names", mode="before")
    @classmethod
    def _lists_of_one(cls, value: Any) -> Any:
        return _listed_values(value)

    @model_validator(mode="before")
    @classmethod
    def _metrics_of_a_score(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("question") == "score":
            data = {"metrics": ["pearson", "spearman"], **data}
        return data

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
    def fill(self) -> str | None:
        """The field whose blank the options fill, if any."""
        return self.options.fill if self.options else None

    @property
    def levels(self) -> list[float]:
        """The numbers of a score question's levels, rising."""
        return [float(value) for value in self.label.ids.values()]

    @property
    def id_words(self) -> dict[str, str]:
        """Label -> its id with spaces."""
        return {label: label.replace("_", " ") for label in self.label.ids}

    @property
    def name_sets(self) -> list[dict[str, str]]:
        """Label -> name as an option, once for each of the alternative names."""
        default = YES_NO if self.question == "predicate" else self.id_words
        names = {label: self.names.get(label, [default[label]]) for label in self.label.ids}
        return [
            {label: given[min(i, len(given) - 1)] for label, given in names.items()}
            for i in range(max(map(len, names.values()), default=0))
        ]

    @property
    def is_yes_no(self) -> bool:
        """Whether `asks` is a yes/no question: the two labels are named Yes and No."""
        names = [list(words.values()) for words in self.name_sets[:1]]
        return bool(names) and sorted(map(str.casefold, names[0])) == ["no", "yes"]


def _listed(value: Any) -> Any:
    """A single string as a list of one."""
    return [value] if isinstance(value, str) else value


def _listed_values(value: Any) -> Any:
    return {key: _listed(item) for key, item in value.items()} if isinstance(value, dict) else value


def label_key(value: Any) -> str:
    """Make 1, 1.0, True and "1" one label: files differ in how they store a number."""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
