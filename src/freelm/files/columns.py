"""Answers as typed columns of a table: what questions about each row of a file come to."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from freelm.errors import InputError
from freelm.judge.engine import Judgement
from freelm.judge.questions import Choice, Predicate, Question, Scale, predicate
from freelm.judge.text_input import check_claims


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        question: Place of its question among those asked.
        kind: Type of its cells.
        cell: Takes the cell from the answer to its question.
    """

    question: int
    kind: pa.DataType
    cell: Callable[[Any], Any]


class AnswerColumns:
    """The columns of some questions' answers.

    A claim has `probability`, P(true); labels have `label`, `probability` and `probability_<label>`
    for each, and `labels` (all that fit) where they do not exclude one another; levels have
    `value`, `level` and `probability_<level>` for each. Each question ends in how the text was
    read: `truncated`, whether only a part of it, and `windows`, in how many.

    Args:
        questions: What is asked about each row.
        columns: Name -> column.

    Attributes:
        questions: What is asked about each row.
        columns: Name -> column.
        claims: Every different claim once: what one request about a text judges.
        schema: The columns with their types.
    """

    def __init__(self, questions: Sequence[Question], columns: Mapping[str, Column]) -> None:
        self.questions = questions
        self.columns = columns
        self.claims = tuple(dict.fromkeys(claim for q in questions for claim in q.claims))
        self.schema = pa.schema([(name, column.kind) for name, column in columns.items()])
        place = {claim: i for i, claim in enumerate(self.claims)}
        self._places = [[place[claim] for claim in q.claims] for q in questions]

    @classmethod
    def of_claims(cls, claims: Sequence[str]) -> "AnswerColumns":
        """Columns of claims without names: each has its P(true) under its own words.

        Raises:
            InputError: If there is none, one is no text, or two are the same.
        """
        asked = [predicate(claim) for claim in check_claims(claims)]
        columns = {
            question.claims[0]: Column(place, pa.float64(), lambda verdict: verdict.probability)
            for place, question in enumerate(asked)
        }
        reading = _reading_columns(0)
        for name in reading:
            _refuse_taken(name, columns)
        return cls(asked, {**columns, **reading})

    @classmethod
    def of_question(cls, question: Question) -> "AnswerColumns":
        """Columns of one question without a name."""
        return cls([question], _columns_of(question, 0))

    @classmethod
    def of_named(cls, questions: Mapping[str, Question]) -> "AnswerColumns":
        """Columns of named questions, each `<question>_<column>`.

        Raises:
            InputError: If two columns would have one name.
        """
        columns: dict[str, Column] = {}
        for place, (name, question) in enumerate(questions.items()):
            for ending, column in _columns_of(question, place).items():
                _refuse_taken(f"{name}_{ending}", columns)
                columns[f"{name}_{ending}"] = column
        return cls(list(questions.values()), columns)

    def under(self, name: str) -> "AnswerColumns":
        """The same with columns that begin with a name."""
        columns = {f"{name}_{ending}": column for ending, column in self.columns.items()}
        return AnswerColumns(self.questions, columns)

    def cells(self, judged: Judgement) -> list[Any]:
        """The answers to one text, in the order of the columns.

        Args:
            judged: The judgement of `claims` about it.
        """
        answers = [
            question.answer(replace(judged, margins=judged.margins[places]))
            for question, places in zip(self.questions, self._places, strict=True)
        ]
        return [column.cell(answers[column.question]) for column in self.columns.values()]

    def table(self, rows: Sequence[Sequence[Any] | None]) -> pa.Table:
        """Cells of several texts as a table; None stands for a row without answers."""
        empty = [None] * len(self.columns)
        by_column = zip(*(cells or empty for cells in rows), strict=True) if rows else empty
        arrays = [
            pa.array(cells or [], column.kind)
            for cells, column in zip(by_column, self.columns.values(), strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def facts(self) -> Any:
        """What is asked, as JSON values: two with the same facts have the same answers."""
        asked = [{"type": type(q).__name__, **asdict(q)} for q in self.questions]
        return json.loads(json.dumps({"columns": self.schema.names, "questions": asked}))


def _columns_of(question: Question, place: int) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    options: tuple[str, ...] = ()
    match question:
        case Choice():
            options = question.labels
            columns["label"] = Column(place, pa.string(), lambda answer: answer.label)
            if question.multi:
                kind = pa.list_(pa.string())
                columns["labels"] = Column(place, kind, lambda answer: list(answer.labels))
        case Scale():
            options = question.levels
            columns["value"] = Column(place, pa.float64(), lambda answer: answer.value)
            columns["level"] = Column(place, pa.string(), lambda answer: answer.level)
    if isinstance(question, Choice | Predicate):
        columns["probability"] = Column(place, pa.float64(), lambda answer: answer.probability)
    for option in options:
        columns[f"probability_{option}"] = Column(place, pa.float64(), _share(option))
    return {**columns, **_reading_columns(place)}


def _share(option: str) -> Callable[[Any], Any]:
    return lambda answer: answer.probabilities[option]


def _reading_columns(place: int) -> dict[str, Column]:
    return {
        "truncated": Column(place, pa.bool_(), lambda answer: answer.truncated),
        "windows": Column(place, pa.int64(), lambda answer: answer.windows),
    }


def _refuse_taken(name: str, columns: Mapping[str, Column]) -> None:
    if name in columns:
        raise InputError(f"two answers would be in the column {name!r}; rename a question or claim")
