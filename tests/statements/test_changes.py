import random

import pytest

from freelm.statements.changes import find_changes, mirror, negations

TEXT = (
    "The museum opened in 1911 in London. In 1934 a fire destroyed the roof near Paris. "
    "Wes Craven criticized Anna Bell."
)
SOURCE = "The museum opened in 1911 in London."


def changes(claim, context=TEXT, source=SOURCE):
    """All (kind, false claim) that some draws find."""
    return {
        (change.kind, change.claim)
        for seed in range(8)
        for change in find_changes(claim, context, source, random.Random(seed))
    }


def test_values_come_from_other_sentences_of_the_text():
    assert ("date_time", "The museum opened in 1934.") in changes("The museum opened in 1911.")


def test_a_value_of_a_sentence_about_the_same_thing_is_not_taken():
    text = "The museum opened in 1911. The museum closed in 1934."
    found = changes("The museum opened in 1911.", text, "The museum opened in 1911.")
    assert ("date_time", "The museum opened in 1934.") not in found


@pytest.mark.parametrize(
    ("claim", "kind", "false"),
    [
        ("Wes Craven criticized Anna Bell.", "role", "Anna Bell criticized Wes Craven."),
        ("The man is sitting down.", "lexical", "The man is standing down."),
        ("The older house is empty.", "comparison", "The younger house is empty."),
        ("It closed before the war.", "date_time", "It closed after the war."),
        ("Many people saw it.", "quantifier", "Few people saw it."),
        ("She agreed to sing.", "modality", "She refused to sing."),
        ("He failed to win the cup.", "modality", "He won the cup."),
        ("He planned to leave.", "modality", "He left."),
        ("It opens if it rains.", "condition", "It opens unless it rains."),
        ("The artist is a woman.", "entity", "The artist is a man."),
    ],
)
def test_a_change_makes_the_claim_false(claim, kind, false):
    assert (kind, false) in changes(claim)


@pytest.mark.parametrize(
    "claim",
    [
        "Anna Bell married Wes Craven.",
        "Anna Bell and Wes Craven wrote it.",
        "Gustaf Arbin was a Swedish diver.",
        "Anna Bell worked in London.",
    ],
)
def test_no_roles_are_exchanged_where_order_or_kind_does_not_allow_it(claim):
    assert not [change for change in changes(claim) if change[0] == "role"]


@pytest.mark.parametrize(
    ("claim", "negated"),
    [
        ("The man is sleeping.", "The man is not sleeping."),
        ("A man plays the guitar.", "A man does not play the guitar."),
        ("The museum opened in 1911.", "The museum did not open in 1911."),
        ("There is a man outdoors.", "There is no man outdoors."),
        ("It can fly.", "It cannot fly."),
    ],
)
def test_negation_in_and_out(claim, negated):
    assert [change.claim for change in negations(claim)] == [negated]
    assert [change.claim for change in negations(negated)] == [claim]


@pytest.mark.parametrize(
    "claim",
    [
        "Some people are playing.",
        "All of the boys are asleep.",
        "He is tall because he eats.",
        "The man who is tall is here.",
        "He did not see any birds.",
        "He not only won but is rich.",
    ],
)
def test_no_negation_where_its_scope_is_unsure(claim):
    assert negations(claim) == []


def test_the_mirrored_text_makes_the_changed_claim_true():
    claim = "The museum opened in 1911."
    found = find_changes(claim, TEXT, SOURCE, random.Random(0))
    (change,) = (one for one in found if one.new == "1934")
    context, true, false = mirror(TEXT, claim, change)
    assert (true, false) == (change.claim, claim)
    assert context.startswith("The museum opened in 1934 in London. In 1911 a fire")


def test_a_name_that_is_part_of_another_is_not_mirrored():
    text = "Anna Bell criticized Wes Craven. Bell left."
    claim = "Anna Bell criticized Wes Craven."
    found = find_changes(claim, text, text, random.Random(0))
    (change,) = (one for one in found if one.kind == "role")
    assert mirror(text, claim, change) is None
