import random

import pytest

from freelm.statements.bounds import bounded
from freelm.statements.questions import as_question, as_statement
from freelm.statements.rewordings import (
    pronoun_is_sure,
    resolve_pronoun,
    reword,
    subject_of_article,
    use_synonym,
)
from freelm.statements.text import exchange, find_spans, is_verbatim, split_sentences, substitute


@pytest.mark.parametrize(
    ("sentence", "statement"),
    [
        ("In 1911, the museum opened to all.", "The museum opened to all in 1911."),
        ("The museum opened to all in 1911.", "In 1911, the museum opened to all."),
        ("The bridge was built by Edith Crane in 1868.", "Edith Crane built the bridge in 1868."),
        (
            "Edith Crane designed the bridge in 1868.",
            "The bridge was designed by Edith Crane in 1868.",
        ),
        ("Anna Bell, a French painter, moved to Rome.", "Anna Bell was a French painter."),
        ("Anna Bell, a French painter, moved to Rome.", "Anna Bell moved to Rome."),
        ("Anna Bell, who lived in Rome, painted it.", "Anna Bell lived in Rome."),
        ("Anna Bell (born 7 May 1960) is a painter.", "Anna Bell was born in May 1960."),
        ("Anna Bell (1960 - 1999) was a painter.", "Anna Bell died in 1999."),
        ("He joined the navy and served in France.", "He served in France."),
        ("Although he won the cup, he left the club.", "He won the cup."),
        ("He won the cup, but he left the club.", "He left the club."),
        ("He left the club because he was ill.", "Because he was ill, he left the club."),
        ("If it rains, the game is moved.", "The game is moved if it rains."),
        ("It was sold on 2 June 1911 to a bank.", "It was sold in June 1911 to a bank."),
        ("The old town (pop. 300) was rebuilt.", "The old town was rebuilt."),
    ],
)
def test_a_rewording_follows_from_the_sentence(sentence, statement):
    assert statement in [found.claim for found in reword(sentence)]


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("He said that he won the cup, but he left.", "He said that he won the cup."),
        ("It was built by 1911.", "1911 built it."),
        ("The close of business was on 2 May 1911.", "On 2 May 1911, the close of business was."),
    ],
)
def test_a_rule_that_is_not_sure_gives_nothing(sentence, wrong):
    assert wrong not in [found.claim for found in reword(sentence)]


def test_a_synonym_keeps_the_rest():
    changed = use_synonym("The film was released in May.", random.Random(0))
    assert changed in {"The movie was released in May.", "The film came out in May."}
    assert use_synonym("Nothing fits.", random.Random(0)) == "Nothing fits."


def test_a_pronoun_is_resolved_only_where_nobody_else_is_meant():
    sentences = ["Kurt Baker (born 1988) is a player.", "He plays at home.", "Sam Hill met Baker."]
    assert subject_of_article(sentences[0]) == ("Kurt Baker", "Baker")
    assert pronoun_is_sure(sentences, 1, "Baker")
    assert resolve_pronoun("His club won.", "Baker") == "Baker's club won."
    assert not pronoun_is_sure([*sentences, "He left."], 3, "Baker")


def test_bounds_hold_for_the_value():
    pairs = [bounded("The town has 350 houses.", random.Random(seed)) for seed in range(60)]
    assert any(pairs)
    for true, change in filter(None, pairs):
        limit = int("".join(letter for letter in true if letter.isdigit()))
        assert ("more than" in true) == (limit < 350)
        assert ("more than" in change.claim) == (limit > 350)


@pytest.mark.parametrize(
    ("question", "answer", "statement"),
    [
        ("When did the museum open?", "1911", "The museum opened in 1911."),
        ("When was the museum opened?", "2 June 1911", "The museum was opened on 2 June 1911."),
        ("Who wrote the play?", "Anna Bell", "Anna Bell wrote the play."),
        ("How many goals did he score?", "three", "He scored three goals."),
        ("Which team won the cup?", "Moorgate", "The team that won the cup was Moorgate."),
        ("What is the capital of Spain?", "Madrid", "The capital of Spain is Madrid."),
        ("_ won the cup.", "Moorgate", "Moorgate won the cup."),
    ],
)
def test_a_question_becomes_a_statement(question, answer, statement):
    assert as_statement(question, answer) == statement


def test_a_question_that_no_rule_fits_stays_a_question():
    assert as_statement("Why did he leave?", "he was ill") is None
    assert as_question("why did he leave", "he was ill") == "Why did he leave? He was ill."


def test_editing_of_text():
    assert substitute("He saw a dog.", "dog", "elephant") == "He saw an elephant."
    assert substitute("Before noon, before.", "before", "after") == "After noon, after."
    assert substitute("The category of cats.", "cat", "dog") == "The category of cats."
    assert exchange("Ann's cat met Bob.", "Ann", "Bob") == "Bob's cat met Ann."
    assert split_sentences("Mr. Hill left. He was ill.") == ("Mr. Hill left.", "He was ill.")
    assert is_verbatim("the old Town", "In the old town.")
    assert not is_verbatim("the town", "In the old town.")


def test_spans_have_kinds():
    found = find_spans("On 2 May 1911, Anna Bell sold 30 in 1920.")
    kinds = {span.text: span.kind for span in found}
    assert kinds == {"2 May 1911": "date", "Anna Bell": "name", "30": "number", "1920": "year"}
