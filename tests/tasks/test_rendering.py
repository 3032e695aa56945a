from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.errors import DataError
from freelm.tasks.task import Example, Task
from toy_tasks import CHOICE, OPTIONS, PREDICATE, SCORE, TEMPLATE, make


def example(task: Task, /, **row: Any) -> Example:
    return task.example(row, "toy/test/3", task.phrasings[0])


def test_an_example_holds_the_row_in_one_phrasing() -> None:
    assert example(make(CHOICE), sentence=" It rains. ", label=2) == Example(
        id="toy/test/3",
        context=("It rains.",),
        labels=("bad", "fair", "good"),
        claims=("It is bad.", "It is fair.", "It is good."),
        opposites=("Not bad.", "Not fair.", "Not good."),
        truths=(0.0, 0.0, 1.0),
        target=2,
    )


def test_propositions_come_in_the_order_of_the_labels() -> None:
    propositions = example(make(CHOICE), sentence="Rain.", label=0).propositions()
    assert [proposition.text for proposition in propositions] == [
        "Rain. [sep] It is bad. [cls]",
        "Rain. [sep] It is fair. [cls]",
        "Rain. [sep] It is good. [cls]",
    ]


def test_a_template_is_filled_with_the_descriptions() -> None:
    made = example(make(TEMPLATE), sentence="x", label=0)
    assert made.claims == ("It is a bad thing.", "It is a good thing.")
    assert made.opposites == ("It is not a bad thing.", "It is not a good thing.")


def test_a_phrasing_without_opposites_has_none() -> None:
    assert example(make(PREDICATE), sentence="x", label=0).opposites == ()


def test_claims_may_use_fields() -> None:
    task = make(
        PREDICATE,
        fields={"text": "sentence", "target": "target"},
        phrasings=[
            {"name": "p", "claims": {"false": "Nothing on {target}.", "true": "On {target}."}}
        ],
    )
    made = example(task, sentence="x", target="{text} %s", label=1)
    assert made.claims == ("Nothing on {text} %s.", "On {text} %s.")


@given(st.text(min_size=1).filter(str.strip))
def test_a_field_value_is_inert(text: str) -> None:
    assert example(make(CHOICE), sentence=text, label=0).context == (text.strip(),)


def test_strings_are_replaced_in_order_in_every_field() -> None:
    task = make(
        CHOICE,
        fields={"a": "a", "b": "b"},
        context=["{a}", "{b}"],
        replace={"<br />": " ", "&amp;": "&", "&lt;": "<"},
    )
    made = example(task, a="one<br />two", b="&amp;lt; <br />", label=0)
    assert made.context == ("one two", "<")


def test_words_stand_for_whole_values_of_one_field() -> None:
    task = make(
        CHOICE,
        fields={"text": "sentence", "target": "target"},
        context=["{text} ({target})"],
        words={"target": {"hillary": "Hillary Clinton"}},
    )
    known = example(task, sentence="hillary", target="hillary", label=0)
    assert known.context == ("hillary (Hillary Clinton)",)
    other = example(task, sentence="x", target="hillary c.", label=0)
    assert other.context == ("x (hillary c.)",)


def test_dots_reach_into_a_structure() -> None:
    task = make(CHOICE, fields={"text": "review.body.text"}, label__column="review.label")
    made = example(task, review={"body": {"text": "Deep."}, "label": 1})
    assert made.context == ("Deep.",)
    assert made.target == 1
    assert task.columns() == {"review"}


def test_a_list_of_texts_is_joined() -> None:
    made = example(make(CHOICE), sentence=["One.", "Two."], label=0)
    assert made.context == ("One. Two.",)


def test_a_structure_is_not_text() -> None:
    with pytest.raises(DataError, match=r"column 'sentence' is not text.*available: en, fr"):
        example(make(CHOICE), sentence={"en": "x", "fr": "y"}, label=0)


def test_a_missing_column_lists_those_there_are() -> None:
    with pytest.raises(DataError, match="toy/test/3: no column 'sentence'; available: label, txt"):
        example(make(CHOICE), txt="x", label=0)
    with pytest.raises(DataError, match="toy/test/3: no column 'label'; available: sentence"):
        example(make(CHOICE), sentence="x")


@pytest.mark.parametrize("empty", ["", "  \n", None, float("nan"), []])
def test_a_row_with_an_empty_context_is_refused(empty: object) -> None:
    with pytest.raises(DataError, match="toy/test/3: the context is empty"):
        example(make(CHOICE), sentence=empty, label=0)


@pytest.mark.parametrize("empty", ["", None, float("nan")])
def test_an_empty_part_of_the_context_is_left_out(empty: object) -> None:
    task = make(CHOICE, fields={"title": "t", "text": "s"}, context=["{title}", "{text}"])
    assert example(task, t=empty, s="Body.", label=0).context == ("Body.",)
    assert example(task, t="Title", s="Body.", label=0).context == ("Title", "Body.")


def test_columns_are_all_that_an_example_reads() -> None:
    assert make(CHOICE).columns() == {"sentence", "label"}
    assert make(OPTIONS).columns() == {"sentence", "choice1", "choice2", "answer"}
    keyed = make(OPTIONS, options={"column": "choices.text"}, label__keys="choices.key")
    assert keyed.columns() == {"sentence", "choices", "answer"}


# -- rows: labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [1, 1.0, True, "1", " 1 "])
@pytest.mark.parametrize("declared", [1, 1.0, True, "1"])
def test_one_label_however_a_file_stores_it(raw: object, declared: object) -> None:
    task = make(CHOICE, label__ids={"bad": 0, "fair": declared, "good": 2})
    assert example(task, sentence="x", label=raw).target == 1


@pytest.mark.parametrize("raw", [3, "3", 0.5, "bad", "True"])
def test_a_label_outside_the_declared_set_names_row_and_column(raw: object) -> None:
    with pytest.raises(DataError) as caught:
        example(make(CHOICE), sentence="x", label=raw)
    assert str(caught.value) == (
        f"toy/test/3: label {raw!r} in column 'label' is outside the declared set 0, 1, 2"
    )


@pytest.mark.parametrize("base", [CHOICE, TEMPLATE, PREDICATE, SCORE, OPTIONS])
@pytest.mark.parametrize("raw", [-1, -1.0, "-1", None, float("nan"), "", "  "])
def test_an_unlabelled_row_has_neither_target_nor_truths(base: dict[str, Any], raw: object) -> None:
    made = example(make(base), sentence="x", label=raw, answer=raw, choice1="one", choice2="two")
    assert made.target is None
    assert made.truths is None
    assert len(made.claims) >= 2


@pytest.mark.parametrize("raw", [-1, -1.0, "-1"])
def test_minus_one_is_a_label_where_it_is_declared(raw: object) -> None:
    ids = {"bad": -1, "fair": 0, "good": 1}
    assert example(make(CHOICE, label__ids=ids), sentence="x", label=raw).target == 0
    score = make(SCORE, label__ids={"low": -1, "middle": 0, "high": 1})
    assert example(score, sentence="x", label=raw).truths == (1.0, 0.0, 0.0)


def test_a_missing_label_is_not_the_label_named_none() -> None:
    task = make(CHOICE, label__ids={"bad": "None", "fair": "nan", "good": "good"})
    assert example(task, sentence="x", label=None).target is None
    assert example(task, sentence="x", label=float("nan")).target is None
    assert example(task, sentence="x", label="None").target == 0


# -- rows: scores ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "truths"),
    [
        (0, (1.0, 0.0, 0.0)),
        (1, (0.0, 1.0, 0.0)),
        (3, (0.0, 0.0, 1.0)),
        (0.25, (0.75, 0.25, 0.0)),
        (0.5, (0.5, 0.5, 0.0)),
        (1.5, (0.0, 0.75, 0.25)),  # a quarter of the way from level 1 to level 3
        (2, (0.0, 0.5, 0.5)),
        ("2.5", (0.0, 0.25, 0.75)),
    ],
)
def test_a_score_makes_the_levels_around_it_partly_true(
    raw: object, truths: tuple[float, ...]
) -> None:
    made = example(make(SCORE), sentence="x", label=raw)
    assert made.truths == truths
    assert made.target == float(raw)  # type: ignore[arg-type]


@given(st.floats(0, 3))
def test_the_truths_of_a_score_weigh_out_to_the_score(score: float) -> None:
    task = make(SCORE)
    truths = example(task, sentence="x", label=score).truths
    assert truths is not None
    assert sum(truths) == pytest.approx(1)
    assert min(truths) >= 0
    assert sum(map(float.__mul__, truths, task.levels)) == pytest.approx(score)


@pytest.mark.parametrize("raw", [-0.5, 3.01, "high", "inf"])
def test_a_score_outside_the_levels_is_refused(raw: object) -> None:
    with pytest.raises(DataError, match=r"toy/test/3: score .* is outside the range 0 to 3"):
        example(make(SCORE), sentence="x", label=raw)


# -- rows: options ---------------------------------------------------------------------------------


def test_options_from_columns() -> None:
    made = example(make(OPTIONS), sentence="Why?", choice1=" rain ", choice2="{sun}", answer=1)
    assert made.labels == ("rain", "{sun}")
    assert made.claims == ('The answer is "rain".', 'The answer is "{sun}".')
    assert made.opposites == ('The answer is not "rain".', 'The answer is not "{sun}".')
    assert made.truths == (0.0, 1.0)
    assert made.target == 1


def test_options_from_one_column_with_keys() -> None:
    task = make(
        OPTIONS,
        options={"column": "choices.text"},
        label__keys="choices.label",
        label__column="answerKey",
    )
    choices = {"text": ["ice", "steam", "fog"], "label": ["A", "B", "C"]}
    made = example(task, sentence="Hot?", choices=choices, answerKey="B")
    assert made.labels == ("ice", "steam", "fog")
    assert made.target == 1
    numbered = {"text": ["ice", "steam"], "label": ["1", "2"]}
    assert example(task, sentence="Hot?", choices=numbered, answerKey=2).target == 1
    with pytest.raises(DataError, match="toy/test/3: label 'D' is none of the keys A, B, C"):
        example(task, sentence="Hot?", choices=choices, answerKey="D")


@pytest.mark.parametrize(("raw", "target"), [("1", 0), (2, 1), (2.0, 1)])
def test_first_is_the_number_of_the_first_option(raw: object, target: int) -> None:
    task = make(OPTIONS, label__first=1)
    made = example(task, sentence="x", choice1="a", choice2="b", answer=raw)
    assert made.target == target


@pytest.mark.parametrize("raw", [0, 3, "C", 1.7, "1.7"])
def test_a_label_that_names_no_option_is_refused(raw: object) -> None:
    task = make(OPTIONS, label__first=1)
    with pytest.raises(DataError, match=r"toy/test/3: label .* names none of the 2 options"):
        example(task, sentence="x", choice1="a", choice2="b", answer=raw)


def test_a_blank_is_filled_with_the_option() -> None:
    task = make(
        OPTIONS,
        options={"columns": ["choice1", "choice2"], "fill": "text", "blank": "_"},
        phrasings=[{"name": "p", "template": "It says: {filled}"}],
    )
    row = {"sentence": "The _ fell.", "choice1": "cup", "choice2": "{text}", "answer": 0}
    made = example(task, **row)
    assert made.context == ("The _ fell.",)
    assert made.claims == ("It says: The cup fell.", "It says: The {text} fell.")


@pytest.mark.parametrize("options", [["only one"], [], None, "text"])
def test_fewer_than_two_options_are_refused(options: object) -> None:
    task = make(OPTIONS, options={"column": "choices"})
    with pytest.raises(DataError, match="toy/test/3: fewer than two options"):
        example(task, sentence="x", choices=options, answer=0)
