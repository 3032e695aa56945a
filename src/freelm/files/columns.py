"""The answers to questions about each row of a file, as typed columns of a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from freelm.errors import InputError
from freelm.files import DEFAULT_PREFIX
from freelm.judge.questions import (
    CheckQuestion,
    ChoiceQuestion,
    PredicateQuestion,
    Question,
    ScoreQuestion,
    distinct_claims,
    predicate,
)
from freelm.judge.requests import Judgement
from freelm.judge.validation import check_claims
from freelm.tasks.forms import CHECKS


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        question: Index of its question.
        type: Type of its cells.
        cell: Takes the cell from the question's answer.
    """

    question: int
    type: pa.DataType
    cell: Callable[[Any], Any]


class AnswerColumns:
    """The columns of the answers to some questions.

    | question | columns |
    |---|---|
    | predicate | `probability` |
    | choice | `label`, `probability`, `verdict`, `probability_<label>`, `verdict_<label>` |
    | choice with `multi` | the same and `labels`; verdicts are the probabilities, not repeated |
    | score | `value`, `level`, `probability_<level>` |
    | check | `result`, `probability_<result>` |

    `verdict` is P(true) of a label's own claim: the number that thresholds are compared with. Each
    question also has `truncated` and `windows`: how much of the text was read, and in how many
    pieces.

    Args:
        questions: The questions about each row.
        columns: Name -> column.
        prefix: What all names begin with.

    Attributes:
        questions: The questions about each row.
        columns: Name with prefix -> column.
        claims: Every claim of the questions once: the claims of the request about a row.
        schema: The columns with their types.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        columns: Mapping[str, Column],
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        self.questions = questions
        self.columns = {f"{prefix}{name}": column for name, column in columns.items()}
        self.claims = distinct_claims(questions)
        self.schema = pa.schema([(name, column.type) for name, column in self.columns.items()])

    @classmethod
    def of_claims(cls, claims: Sequence[str], prefix: str = DEFAULT_PREFIX) -> "AnswerColumns":
        """Columns of unnamed claims: each has its P(true) under its own words.

        Raises:
            InputError: If there is none, one is not a text, or two are equal.
        """
        questions = [predicate(claim) for claim in check_claims(claims)]
        columns = {
            question.claim: Column(i, pa.float64(), lambda verdict: verdict.probability)
            for i, question in enumerate(questions)
        }
        context_columns = _context_columns(0)
        for name in context_columns:
            _check_free(name, columns)
        return cls(questions, {**columns, **context_columns}, prefix)

    @classmethod
    def of_question(cls, question: Question, prefix: str = DEFAULT_PREFIX) -> "AnswerColumns":
        """Columns of one unnamed question."""
        return cls([question], _columns_of(question, 0), prefix)

    @classmethod
    def of_named(
        cls, questions: Mapping[str, Question], prefix: str = DEFAULT_PREFIX
    ) -> "AnswerColumns":
        """Columns of named questions, each `<question>_<column>`.

        Raises:
            InputError: If two columns would have the same name.
        """
        columns: dict[str, Column] = {}
        for i, (question_name, question) in enumerate(questions.items()):
            for ending, column in _columns_of(question, i).items():
                name = f"{question_name}_{ending}"
                _check_free(name, columns)
                columns[name] = column
        return cls(list(questions.values()), columns, prefix)

    def cells(self, judgement: Judgement) -> list[Any]:
        """The answers about one text, in the order of the columns.

        Args:
            judgement: The judgement of `claims`.
        """
        answers = [question.answer(judgement) for question in self.questions]
        return [column.cell(answers[column.question]) for column in self.columns.values()]

    def table(self, rows: Sequence[Sequence[Any] | None]) -> pa.Table:
        """The cells of several texts as a table; None is a row without answers."""
        empty = [None] * len(self.columns)
        by_column = zip(*(cells or empty for cells in rows), strict=True) if rows else empty
        arrays = [
            pa.array(cells or [], column.type)
            for cells, column in zip(by_column, self.columns.values(), strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def fingerprint(self) -> Any:
        """What determines the answers, as JSON values."""
        questions = [{"type": type(q).__name__, **asdict(q)} for q in self.questions]
        return json.loads(json.dumps({"columns": self.schema.names, "questions": questions}))


def _columns_of(question: Question, index: int) -> dict[str, Column]:
    def column(kind: pa.DataType, cell: Callable[[Any], Any]) -> Column:
        return Column(index, kind, cell)

    def per_option(field: str, options: Sequence[str]) -> dict[str, Column]:
        name = {"probabilities": "probability", "verdicts": "verdict"}[field]
        return {f"{name}_{o}": column(pa.float64(), _entry(field, o)) for o in options}

    columns: dict[str, Column] = {}
    match question:
        case PredicateQuestion():
            columns["probability"] = column(pa.float64(), lambda answer: answer.probability)
        case ChoiceQuestion():
            columns["label"] = column(pa.string(), lambda answer: answer.label)
            if question.multi:
                kind = pa.list_(pa.string())
                columns["labels"] = column(kind, lambda answer: list(answer.labels))
            columns["probability"] = column(pa.float64(), lambda answer: answer.probability)
            columns["verdict"] = column(pa.float64(), lambda answer: answer.verdict)
            columns |= per_option("probabilities", question.labels)
            if not question.multi:
                columns |= per_option("verdicts", question.labels)
        case ScoreQuestion():
            columns["value"] = column(pa.float64(), lambda answer: answer.value)
            columns["level"] = column(pa.string(), lambda answer: answer.level)
            columns |= per_option("probabilities", question.levels)
        case CheckQuestion():
            columns["result"] = column(pa.string(), lambda answer: answer.result)
            columns |= per_option("probabilities", tuple(CHECKS))
    return {**columns, **_context_columns(index)}


def _entry(field: str, option: str) -> Callable[[Any], Any]:
    return lambda answer: getattr(answer, field)[option]


def _context_columns(index: int) -> dict[str, Column]:
    return {
        "truncated": Column(index, pa.bool_(), lambda answer: answer.truncated),
        "windows": Column(index, pa.int64(), lambda answer: answer.windows),
    }


def _check_free(name: str, columns: Mapping[str, Column]) -> None:
    if name in columns:
        raise InputError(
            f"two answers would be in the column {name!r}; rename a question, label or claim"
        )
