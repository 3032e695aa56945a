"""Source (b): questions about a passage with a right and a wrong answer."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from freelm.statements.changes import Change, mirror, qualifies
from freelm.statements.pairs import Pair
from freelm.statements.questions import as_question, as_statement
from freelm.statements.text import DATE, NAME, NUMBER, YEAR, occurrences, stands_inside, words
from freelm.tasks.sources import read_table

LEFT_OUT = {"tweetqa", "qa_srl", "cosmos_qa", "mctaco", "iirc", "quartz", "qasper"}
"""Sources of `reading` with unsure distractors, or with answers that are not in the passage."""

UNMIRRORED = {"reading/drop", "reading/mocha", "mctest", "dream", "multirc"}
"""Sources with answers in words of their own: exchanging words of the passage is not safe."""


def reading_pairs(root: Path, seed: int) -> Iterator[Pair]:
    """Candidate pairs of the reading sets that the data root has."""
    folder = root / "teacher"
    if (path := folder / "reading" / "train.parquet").is_file():
        for number, row in enumerate(read_table(path).to_pylist()):
            yield from _from_distractors(row, random.Random(f"{seed}/reading/{number}"))
    for name in ("mctest", "dream"):
        if (path := folder / name / "train.parquet").is_file():
            for number, row in enumerate(read_table(path).to_pylist()):
                yield from _from_choices(row, name, random.Random(f"{seed}/{name}/{number}"))
    if (path := folder / "multirc" / "train.parquet").is_file():
        yield from _from_answers(read_table(path).to_pylist(), seed)


def answer_type(answer: str) -> str:
    """`date`, `year`, `number`, `name` or `phrase`."""
    for name, pattern in (("date", DATE), ("year", YEAR), ("number", NUMBER), ("name", NAME)):
        if pattern.fullmatch(answer):
            return name
    return "phrase"


_KINDS = {"date": "date_time", "year": "date_time", "number": "number", "phrase": "answer"}
_TEMPLATED = {"babi", "tom_qa"}


def _from_distractors(row: dict[str, Any], rng: random.Random) -> Iterator[Pair]:
    passage, question, answer = row["passage"].strip(), row["question"], row["answer"].strip()
    source = row["source"]
    blank = re.search(r"_+", question)
    if blank and qualifies(question[blank.end() :]):
        return
    if source in LEFT_OUT or (source not in _TEMPLATED and not occurrences(passage, answer)):
        return
    kind = answer_type(answer)
    wrong = [text.strip() for text in row["distractors"]]
    if source not in _TEMPLATED:
        wrong = [
            text
            for text in wrong
            if answer_type(text) == kind != "phrase"
            and occurrences(passage, text)
            and _same_form(kind, answer, text)
            and not set(words(text)) & set(words(answer))
            and bool(occurrences(question, text)) == bool(occurrences(question, answer))
            and (kind != "name" or " " in text or stands_inside(passage, text))
            and _suits(question, text, passage)
        ]
    rng.shuffle(wrong)
    for text in wrong[:2]:
        yield _answered(
            passage, question, answer, text, _kind(question, kind), f"reading/{source}", rng
        )


def _same_form(kind: str, answer: str, text: str) -> bool:
    if kind == "number":
        return answer[0].isdigit() == text[0].isdigit() and (
            not YEAR.fullmatch(text) or len(answer) == 4
        )
    return True


def _suits(question: str, text: str, passage: str) -> bool:
    """Whether a wrong answer is at least a person or a place as the question asks."""
    is_place = bool(
        re.search(rf"\b(?:in|at|from|near|to|of) (?:the )?{re.escape(text)}\b", passage)
    )
    if re.match(r"who\b", question, re.IGNORECASE):
        return not is_place
    if re.match(r"where\b", question, re.IGNORECASE):
        return is_place
    return True


def _kind(question: str, kind: str) -> str:
    if kind in _KINDS and kind != "phrase":
        return _KINDS[kind]
    return (
        "location"
        if re.match(r"where\b", question, re.IGNORECASE)
        else "entity"
        if kind == "name"
        else "answer"
    )


def _answered(
    passage: str, question: str, answer: str, wrong: str, kind: str, source: str, rng: random.Random
) -> Pair:
    """The pair of a right and a wrong answer, as statements where a rule can and half the time."""
    statements = [as_statement(question, text) for text in (answer, wrong)]
    if None in statements or ("_" not in question and rng.random() < 0.35):
        statements = [as_question(question, text) for text in (answer, wrong)]
    true, false = (str(statement) for statement in statements)
    change = Change(false, kind, answer, wrong)
    context = passage
    if (
        source not in UNMIRRORED
        and rng.random() < 0.5
        and (mirrored := mirror(passage, true, change))
    ):
        context, true, false = mirrored
    return Pair(context, true, false, kind, source, passage)


def _from_choices(row: dict[str, Any], name: str, rng: random.Random) -> Iterator[Pair]:
    """Multiple choice with wrong options written by people."""
    passage = row.get("passage") or row.get("dialogue") or row.get("context")
    options = row.get("choices") or row.get("choice")
    if isinstance(passage, list):
        passage = " ".join(passage)
    if not passage or not options or "which of the following" in row["question"].lower():
        return
    right = options[row["label"]]
    wrong = [text for index, text in enumerate(options) if index != row["label"]]
    wrong.sort(key=lambda text: abs(len(text) - len(right)))
    for text in wrong[:2]:
        yield _answered(passage, row["question"], right, text, "answer", name, rng)


def _from_answers(rows: list[dict[str, Any]], seed: int) -> Iterator[Pair]:
    """MultiRC: right and wrong answers to one question, written by people."""
    groups: dict[tuple[str, str], dict[int, list[str]]] = {}
    for row in rows:
        group = groups.setdefault((row["paragraph"], row["question"]), {0: [], 1: []})
        group[row["label"]].append(row["answer"])
    for number, ((paragraph, question), answers) in enumerate(groups.items()):
        rng = random.Random(f"{seed}/multirc/{number}")
        yes_no = {"yes", "no", "true", "false"}
        for wrong in answers[0][:3]:
            alike = [text for text in answers[1] if text.lower() not in yes_no and len(text) > 1]
            if not alike or wrong.lower() in yes_no or len(wrong) < 2:
                continue
            right = min(alike, key=lambda text: abs(len(text) - len(wrong)))
            passage = paragraph.replace("``", '"').replace("''", '"')
            yield _answered(passage, question, right, wrong, "answer", "multirc", rng)
