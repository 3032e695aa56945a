"""The parts of a task definition: where the rows are, their fields, labels and phrasings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

QuestionKind = Literal["predicate", "choice", "options", "score"]
MetricName = Literal["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "mae"]
RawLabel = int | float | str | bool


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


class Definition(_Part):
    """A task definition as its file states it. Unknown keys are refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.\-/]*$")
    version: int = Field(default=1, ge=1)
    """Raised when the definition changes, so that figures of two versions are never compared."""
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
    metrics: list[MetricName] = Field(default=["accuracy"], min_length=1)
    """Without it: accuracy; for a score question Pearson's and Spearman's correlation."""
    report_split: str = "test"
    """The split that figures are reported on."""
    path: Path | None = Field(default=None, exclude=True)
    """The file that this definition was read from."""

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


def label_key(value: Any) -> str:
    """Make 1, 1.0, True and "1" one label: files differ in how they store a number."""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
