import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.data.changes import (
    CHANGES,
    DISTRACTORS,
    TRAINING_DISTRACTORS,
    changed,
    named_parts,
    with_distractors,
    with_typos,
    without_punctuation,
)
from freelm.data.mixture import seeded

PARTS = ("A long text, about something; it goes on.", "The other one.")


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_typos_come_at_the_stated_rate_and_keep_first_letters(rate):
    words = ["wonderful"] * 2000
    changed = with_typos(" ".join(words), rate, seeded("typos")).split()
    assert len(changed) == len(words)
    assert np.mean([word != "wonderful" for word in changed]) == pytest.approx(rate, abs=0.05)
    assert all(word[0] == "w" and abs(len(word) - 9) <= 1 for word in changed)


def test_short_words_and_numbers_have_no_typos():
    text = "it is 12345 not so bad"
    assert with_typos(text, 1.0, seeded(0)) == text


def test_punctuation_goes_and_words_stay():
    assert without_punctuation("Well, it's (really) good!") == "Well it s really good"
    assert without_punctuation("...") == "..."


@pytest.mark.parametrize("count", [1, 3])
def test_distractors_stand_around_the_longest_part(count):
    context = with_distractors(PARTS, count, seeded(1))
    assert context[1] == PARTS[1]
    assert PARTS[0] in context[0]
    assert sum(sentence in context[0] for sentence in DISTRACTORS) == count


def test_training_has_other_distractors_than_the_measurement_of_robustness() -> None:
    assert not set(DISTRACTORS) & set(TRAINING_DISTRACTORS)


def test_parts_are_named_by_order_or_by_field() -> None:
    assert named_parts(PARTS)[1] == "The second text: The other one."
    assert named_parts(PARTS, ["Premise", "Claim"])[1] == "Claim: The other one."


@given(st.integers(0, 200))
def test_without_rates_nothing_changes(seed: int) -> None:
    assert changed(PARTS, [], {}, seeded(seed)) == PARTS


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_comes_at_its_rate(change: str) -> None:
    def share(rate: float) -> float:
        drawn = [changed(PARTS, ["A", "B"], {change: rate}, seeded(n)) for n in range(400)]
        return float(np.mean([context != PARTS for context in drawn]))

    at_all_times = share(1.0)  # a text can be drawn without a typo
    assert at_all_times > 0.3
    assert share(0.5) == pytest.approx(at_all_times / 2, abs=0.08)


def test_a_part_is_never_named_twice_and_every_order_is_drawn() -> None:
    both = {"ordinals": 1.0, "field_names": 1.0}
    drawn = {changed(PARTS, ["A", "B"], both, seeded(n)) for n in range(50)}
    named = named_parts(PARTS)
    assert drawn == {named, named[::-1]}


def test_parts_without_names_are_not_named_by_field() -> None:
    assert changed(PARTS, [], {"field_names": 1.0}, seeded(0)) == PARTS
    assert changed(PARTS[:1], ["A"], {"ordinals": 1.0}, seeded(0)) == PARTS[:1]
