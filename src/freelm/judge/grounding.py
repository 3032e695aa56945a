"""Checking an answer against its sources: each sentence of the answer, each passage of a source.

A sentence is compared with one passage at a time, since a small model reads short texts best and
averaging over a long source would drown the one place that decides. A passage that supports the
sentence decides. If none does, the passage that says most about it decides: the one with the
lowest probability of `not_stated`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from freelm.errors import InputError
from freelm.judge.answers import AnswerCheck, Check, SentenceCheck
from freelm.judge.questions import CheckQuestion, check, distinct_claims
from freelm.judge.requests import Judgement, Request
from freelm.judge.validation import LongTexts, check_list, check_text
from freelm.statements.text import split_sentences

PASSAGE_WORDS = 120
"""Longest passage in words; a longer sentence is a passage of its own."""


@dataclass(frozen=True, slots=True)
class AnswerQuestion:
    """Which sentences of an answer do the sources support?

    Attributes:
        sentences: One question per sentence.
        passages: The passages of all sources, each with the index of its source.
    """

    sentences: tuple[CheckQuestion, ...]
    passages: tuple[tuple[int, str], ...]

    def requests(self, long_texts: LongTexts) -> list[Request]:
        """One request per passage, about all sentences."""
        claims = distinct_claims(self.sentences)
        return [Request((passage,), claims, long_texts) for _, passage in self.passages]

    def answer(self, judgements: Sequence[Judgement]) -> AnswerCheck:
        """The result of each sentence, from the judgements of `requests`."""
        return AnswerCheck(tuple(self._sentence(each, judgements) for each in self.sentences))

    def _sentence(self, question: CheckQuestion, judgements: Sequence[Judgement]) -> SentenceCheck:
        checks = [question.answer(judgement) for judgement in judgements]
        decisive = _decisive(checks)
        found = checks[decisive]
        source, passage = self.passages[decisive]
        return SentenceCheck(
            sentence=found.claim,
            result=found.result,
            probabilities=found.probabilities,
            source=source,
            passage=passage,
            truncated=any(one.truncated for one in checks),
        )


def answer_question(answer: object, sources: object) -> AnswerQuestion:
    """Ask whether sources support an answer.

    Args:
        answer: The answer: one sentence or several.
        sources: A text, or several.

    Raises:
        InputError: If the answer or a source is empty or not a string, or there are no sources.
    """
    sentences = dict.fromkeys(split_sentences(check_text(answer, "the answer")))
    texts = [sources] if isinstance(sources, str) else check_list(sources, "sources")
    if not texts:
        raise InputError("no sources are given")
    passages = tuple(
        (index, passage)
        for index, text in enumerate(texts)
        for passage in split_passages(check_text(text, f"source {index}"))
    )
    return AnswerQuestion(tuple(map(check, sentences)), passages)


def split_passages(text: str, max_words: int = PASSAGE_WORDS) -> Iterator[str]:
    """Split a text into passages of whole sentences.

    Consecutive passages share a sentence where both have room for it, so that a pronoun at the
    start of a passage keeps what it refers to.

    Args:
        text: The text.
        max_words: Longest passage in words, apart from a single longer sentence.
    """
    passage: list[str] = []
    for sentence in split_sentences(text):
        if passage and _num_words([*passage, sentence]) > max_words:
            yield " ".join(passage)
            passage = passage[-1:] if _num_words([passage[-1], sentence]) <= max_words else []
        passage.append(sentence)
    yield " ".join(passage)


def _num_words(sentences: Sequence[str]) -> int:
    return sum(len(sentence.split()) for sentence in sentences)


def _decisive(checks: Sequence[Check]) -> int:
    """Index of the passage that decides about a sentence."""
    supporting = [i for i, one in enumerate(checks) if one.result == "supported"]
    if supporting:
        return max(supporting, key=lambda i: checks[i].probabilities["supported"])
    return min(range(len(checks)), key=lambda i: checks[i].probabilities["not_stated"])
