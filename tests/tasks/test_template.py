import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.errors import TaskError
from freelm.tasks.template import render, template_fields

FIELD_NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=6)


def escape(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")


def test_fields_are_listed_in_order_of_use() -> None:
    assert template_fields("{b} then {a}, and {b} again") == ["b", "a", "b"]


def test_text_without_fields_has_none() -> None:
    assert template_fields("The review is positive.") == []
    assert template_fields("") == []


@pytest.mark.parametrize(
    "template",
    [
        "{text.__class__}",
        "{text.upper}",
        "{text[0]}",
        "{text[key]}",
        "{text.__class__.__mro__[1]}",
        "{text!r}",
        "{text!s}",
        "{text:>10}",
        "{text:{width}}",
        "{}",
        "{0}",
        "{ text }",
        "{two words}",
        "{a-b}",
        "{é}",
    ],
)
def test_anything_but_a_plain_field_is_refused(template: str) -> None:
    with pytest.raises(TaskError, match=r"only \{field\} with a plain name is allowed"):
        template_fields(template)


@pytest.mark.parametrize("template", ["{text", "text}", "{", "}", "{{text}", "{text}}"])
def test_unbalanced_braces_are_refused_with_the_template_in_the_message(template: str) -> None:
    with pytest.raises(TaskError) as caught:
        template_fields(template)
    assert repr(template) in str(caught.value)


def test_doubled_braces_are_literal() -> None:
    assert template_fields("a {{b}} {c}") == ["c"]
    assert render("a {{b}} {c}", {"c": "d"}) == "a {b} d"


@pytest.mark.parametrize("value", ["{other}", "{{", "}", "{0.__class__}", "%s $x", "{text}"])
def test_a_value_with_braces_stays_as_it_is(value: str) -> None:
    assert render("<{text}>", {"text": value, "other": "no"}) == f"<{value}>"


@given(st.lists(st.tuples(st.text(), FIELD_NAMES, st.text()), max_size=5), st.text())
def test_rendering_joins_literals_and_values_untouched(
    pieces: list[tuple[str, str, str]], tail: str
) -> None:
    template = "".join(f"{escape(literal)}{{{name}}}" for literal, name, _ in pieces)
    values = {name: value for _, name, value in pieces}
    expected = "".join(literal + values[name] for literal, name, _ in pieces)
    assert render(template + escape(tail), values) == expected + tail
    assert template_fields(template + escape(tail)) == [name for _, name, _ in pieces]


def test_a_field_without_a_value_is_named_with_those_there_are() -> None:
    with pytest.raises(TaskError) as caught:
        render("{tweet} about {topic}", {"tweet": "x", "target": "y"})
    assert "no field 'topic'; available: target, tweet" in str(caught.value)
