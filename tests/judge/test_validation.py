import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.errors import InputError
from freelm.judge.validation import check_claims, check_labels, check_template, check_text
from freelm.tasks.forms import label_claim

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def refused(message):
    return pytest.raises(InputError, match=re.escape(message))


# -- texts -----------------------------------------------------------------------------------------


@given(texts)
def test_any_real_text_is_returned_as_it_is(text):
    assert check_text(text) == text


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0\u2003"])
def test_empty_text_is_refused(text):
    with refused("the text is empty"):
        check_text(text)


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), (3, "int"), (b"a", "bytes")])
def test_other_types_are_refused(value, kind):
    with refused(f"the text must be a string, not {kind}"):
        check_text(value)


def test_unpaired_surrogate_is_refused_with_its_position():
    with refused("(U+D83D) at character 3"):
        check_text("abc\ud83d")
    with refused("(U+DE00) at character 0"):
        check_text("\ude00abc")
    assert check_text("abc\U0001f600")


@given(texts, texts, st.integers(0xD800, 0xDFFF))
def test_message_about_a_surrogate_can_be_printed(before, after, code):
    with pytest.raises(InputError) as caught:
        check_text(before + chr(code) + after)
    assert f"at character {len(before)};" in str(caught.value)
    assert str(caught.value).encode("utf-8")


# -- claims ----------------------------------------------------------------------------------------


def test_claims_are_stripped():
    assert check_claims([" It is so.", "It is not so. "]) == ("It is so.", "It is not so.")
    assert check_claims(("one",)) == ("one",)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ([], "give at least one"),
        ("It is so.", "claims must be a list of strings, not str"),
        (None, "claims must be a list of strings, not NoneType"),
        ({"a"}, "not set"),
        (["a", " "], "claim 2 is empty"),
        (["a", 5], "claim 2 must be a string, not int"),
        (["a", "b\udc00"], "claim 2 contains an unpaired surrogate"),
        (["a", "b", " a"], "the claim 'a' is given twice"),
    ],
)
def test_bad_claims_are_named(claims, message):
    with refused(message):
        check_claims(claims)


# -- labels ----------------------------------------------------------------------------------------


def test_labels_describe_themselves_in_the_order_given():
    found = check_labels(["sport", " music"])
    assert list(found.items()) == [("sport", "sport"), (" music", "music")]


def test_mapping_gives_descriptions():
    labels = {"pos": "the review is good ", "neg": "the review is bad"}
    found = check_labels(labels)
    assert list(found.items()) == [("pos", "the review is good"), ("neg", "the review is bad")]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least two labels are needed, not 0"),
        (["a"], "at least two labels are needed, not 1"),
        ({"a": "x"}, "at least two labels are needed, not 1"),
        ("ab", "labels must be a list of strings, not str"),
        ({"a", "b"}, "labels must be a list of strings, not set"),
        (["a", ""], "label 2 is empty"),
        (["a", 1], "label 2 must be a string, not int"),
        (["a", "b", "a "], "the label 'a' is given twice"),
        ({"a": "x", "a ": "y"}, "the label 'a' is given twice"),
        ({"a": "x", "b": " "}, "the description of label 'b' is empty"),
        ({"a": "x", "b": None}, "the description of label 'b' must be a string, not NoneType"),
        ({1: "x", 2: "y"}, "label 1 must be a string, not int"),
        ({"a": "same", "b": "same "}, "the description 'same' is given twice"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with refused(message):
        check_labels(labels)


# -- templates -------------------------------------------------------------------------------------


@given(texts)
def test_a_label_goes_in_without_surrounding_white_space(label):
    claim = label_claim(label, check_template("It is {}, yes."))
    assert claim == "It is " + label.strip() + ", yes."


@pytest.mark.parametrize("label", ["{}", "{0}", "{x.__class__}", "{{", "%s"])
def test_braces_in_a_label_are_inert(label):
    assert label_claim(label, check_template("{} it is")) == label + " it is"


@pytest.mark.parametrize(
    "template",
    [
        "about it",
        "{} and {}",
        "{0}",
        "{x}",
        "{0.__class__}",
        "{!r}",
        "{:>9}",
        "{{}}",
        "{} {x}",
        "{} }",
        "{ }",
        "{}{",
        "{{{}}}",
    ],
)
def test_other_templates_are_refused_with_an_example(template):
    with refused("must contain exactly one {} and no other braces, for example 'The text is about"):
        check_template(template)


def test_template_is_checked_as_text():
    with refused("the template is empty"):
        check_template(" ")
    with refused("the template must be a string, not NoneType"):
        check_template(None)
