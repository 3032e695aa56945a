from itertools import pairwise

import numpy as np
import pytest

from freelm.errors import InputError
from freelm.judge.grounding import answer_question, split_passages
from freelm.judge.requests import Judgement
from freelm.statements.text import split_sentences

SUPPORTED, CONTRADICTED, UNSTATED = (5.0, 0.0, 0.0), (0.0, 5.0, 0.0), (0.0, 0.0, 5.0)


def judged(question, *passages):
    """The answer when each passage has these margins, three per sentence."""
    requests = question.requests("truncate")
    return question.answer(
        [
            Judgement(request.claims, np.array(margins).ravel())
            for request, margins in zip(requests, passages, strict=True)
        ]
    )


def test_one_supporting_passage_is_enough():
    question = answer_question("It rains.", ["One.", "Two.", "Three."])
    (found,) = judged(question, [UNSTATED], [SUPPORTED], [CONTRADICTED]).sentences
    assert (found.result, found.source, found.passage) == ("supported", 1, "Two.")


def test_without_support_the_passage_that_says_most_decides():
    question = answer_question("It rains.", ["One.", "Two."])
    (found,) = judged(question, [UNSTATED], [CONTRADICTED]).sentences
    assert (found.result, found.source) == ("contradicted", 1)
    (found,) = judged(question, [UNSTATED], [(0.0, 0.0, 2.0)]).sentences
    assert (found.result, found.source) == ("not_stated", 1)


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (SUPPORTED, SUPPORTED, "supported"),
        (SUPPORTED, UNSTATED, "not_stated"),
        (UNSTATED, CONTRADICTED, "contradicted"),
        (CONTRADICTED, SUPPORTED, "contradicted"),
    ],
)
def test_the_worst_sentence_decides_about_the_answer(first, second, result):
    question = answer_question("It rains. It is late.", "Text.")
    found = judged(question, [first, second])
    assert (found.result, len(found.sentences)) == (result, 2)
    assert found.as_dict()["result"] == result


def test_a_long_source_is_split_into_passages_that_hold_every_sentence():
    text = " ".join(f"Sentence number {i} has seven words here." for i in range(40))
    passages = list(split_passages(text, 30))
    assert all(len(passage.split()) <= 30 for passage in passages)
    sentences = [sentence for passage in passages for sentence in split_sentences(passage)]
    assert tuple(dict.fromkeys(sentences)) == split_sentences(text)
    for one, following in pairwise(passages):
        assert split_sentences(one)[-1] == split_sentences(following)[0]


def test_a_sentence_longer_than_a_passage_stays_whole():
    long = "Word " * 50 + "end."
    assert list(split_passages(f"First one. {long} Last one.", 10)) == [
        "First one.",
        long,
        "Last one.",
    ]


@pytest.mark.parametrize(
    ("answer", "sources", "message"),
    [
        (" ", "text", "the answer is empty"),
        ("It rains.", [], "no sources"),
        ("It rains.", ["a", ""], "source 1 is empty"),
        ("It rains.", 5, "sources must be a list"),
    ],
)
def test_bad_input(answer, sources, message):
    with pytest.raises(InputError, match=message):
        answer_question(answer, sources)


def test_a_single_sentence_and_passage_equal_a_check(model):
    alone = model.check("The museum opened in 1911.", "It opened in 1920.")
    (found,) = model.check_answer("It opened in 1920.", "The museum opened in 1911.").sentences
    assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
