import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.tasks.proposition import CLS, SEP, Proposition, normalise


def test_text_is_the_form_of_the_paper() -> None:
    proposition = Proposition(("A fine film.",), "Here, the movie review is emotionally positive.")
    assert proposition.text == (
        "A fine film. [sep] Here, the movie review is emotionally positive. [cls]"
    )


def test_all_parts_of_the_context_are_separated() -> None:
    proposition = Proposition(("It rains.", "It is wet."), "The first implies the second.")
    assert proposition.text == (
        "It rains. [sep] It is wet. [sep] The first implies the second. [cls]"
    )


@given(st.lists(st.text(string.ascii_letters + " ."), min_size=1, max_size=4), st.text("abc ."))
def test_text_has_one_separator_per_part_and_ends_in_cls(parts: list[str], claim: str) -> None:
    text = Proposition(tuple(parts), claim).text
    assert text.count(SEP) == len(parts)
    assert text.count(CLS) == 1
    assert text.removesuffix(f" {CLS}").split(f" {SEP} ") == [*parts, claim]


def test_propositions_are_values() -> None:
    assert Proposition(("a",), "b") == Proposition(("a",), "b")
    assert len({Proposition(("a",), "b"), Proposition(("a",), "b")}) == 1
    with pytest.raises(AttributeError):
        Proposition(("a",), "b").claim = "c"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Here, it IS so.", "here it is so"),
        ("  the\n text\tis  short ", "The text is short!"),
        ("Straße", "STRASSE"),
        ("well-known", "well known"),
    ],
)
def test_same_words_are_equal_after_normalisation(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [("It is so.", "It is not so."), ("one star", "two stars"), ("a b", "ab"), ("1", "2")],
)
def test_different_words_stay_different(left: str, right: str) -> None:
    assert normalise(left) != normalise(right)


@given(st.lists(st.text(string.ascii_lowercase, min_size=1), max_size=6))
def test_case_spacing_and_punctuation_do_not_count(words: list[str]) -> None:
    plain = " ".join(words)
    assert normalise(plain) == plain
    assert normalise(",  ".join(word.upper() for word in words) + " .") == plain


@given(st.text(string.printable))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
