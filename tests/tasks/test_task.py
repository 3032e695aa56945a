import copy
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from freelm.errors import DataError, TaskError
from freelm.tasks.task import Example, Task

CHOICE: dict[str, Any] = {
    "name": "toy",
    "version": 1,
    "family": "sentiment",
    "question": "choice",
    "reference": "invented",
    "fields": {"text": "sentence"},
    "context": ["{text}"],
    "label": {"column": "label", "ids": {"bad": 0, "fair": 1, "good": 2}},
    "phrasings": [
        {
            "name": "plain",
            "claims": {"bad": "It is bad.", "fair": "It is fair.", "good": "It is good."},
            "opposites": {"bad": "Not bad.", "fair": "Not fair.", "good": "Not good."},
        },
        {
            "name": "held",
            "held_out": True,
            "claims": {"bad": "He hates it.", "fair": "He bears it.", "good": "He loves it."},
        },
    ],
    "metrics": ["accuracy"],
}

TEMPLATE: dict[str, Any] = {
    **CHOICE,
    "label": {
        "column": "label",
        "ids": {"bad": 0, "good": 1},
        "descriptions": {"bad": "a bad thing", "good": "a good thing"},
    },
    "phrasings": [
        {
            "name": "about",
            "template": "It is {label}.",
            "opposite_template": "It is not {label}.",
        }
    ],
}

PREDICATE: dict[str, Any] = {
    **CHOICE,
    "question": "predicate",
    "label": {"column": "label", "ids": {"false": 0, "true": 1}},
    "phrasings": [{"name": "plain", "claims": {"false": "It is not.", "true": "It is."}}],
}

SCORE: dict[str, Any] = {
    **CHOICE,
    "question": "score",
    "label": {"column": "label", "ids": {"low": 0, "middle": 1, "high": 3}},
    "phrasings": [
        {"name": "plain", "claims": {"low": "It is low.", "middle": "Middling.", "high": "High."}}
    ],
}

OPTIONS: dict[str, Any] = {
    **CHOICE,
    "question": "options",
    "label": {"column": "answer"},
    "options": {"columns": ["choice1", "choice2"]},
    "phrasings": [
        {
            "name": "plain",
            "template": 'The answer is "{option}".',
            "opposite_template": 'The answer is not "{option}".',
        }
    ],
}


def make(base: dict[str, Any], **changes: Any) -> Task:
    """A task from `base`; a key `a__b` changes the key `b` below the key `a`."""
    data = copy.deepcopy(base)
    for key, value in changes.items():
        *above, last = key.split("__")
        place = data
        for name in above:
            place = place[name]
        place[last] = value
    return Task.model_validate(data)


def write(folder: Path, data: Any, name: str = "toy.yaml") -> Path:
    path = folder / name
    path.write_text(
        data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False), encoding="utf-8"
    )
    return path


def example(task: Task, /, **row: Any) -> Example:
    return task.example(row, "toy/test/3", task.phrasings[0])


# -- problems of a definition ----------------------------------------------------------------------


@pytest.mark.parametrize("base", [CHOICE, TEMPLATE, PREDICATE, SCORE, OPTIONS])
def test_a_sound_definition_has_no_problems(base: dict[str, Any]) -> None:
    assert make(base).problems() == []


def claims(**changes: str | None) -> dict[str, str]:
    """The first phrasing's claims with changes; None takes a label out."""
    changed = {**CHOICE["phrasings"][0]["claims"], **changes}
    return {label: claim for label, claim in changed.items() if claim is not None}


PLAIN = {"name": "plain", "claims": claims()}
ABOUT = {"name": "about", "template": "It is {label}."}
TRUE_IDS = {"false": 0, "true": True}


@pytest.mark.parametrize(
    ("base", "changes", "problem"),
    [
        (
            CHOICE,
            {"context": ["{txt}"]},
            "context part 1: unknown field 'txt'; there are: text",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(bad="{label} is bad.")}]},
            "phrasing 'p': unknown field 'label'; there are: text",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(), "opposites": claims(bad="{x}")}]},
            "phrasing 'p': unknown field 'x'",
        ),
        (
            TEMPLATE,
            {"phrasings": [{"name": "p", "template": "{label} in {option}"}]},
            "phrasing 'p': unknown field 'option'; there are: label, text",
        ),
        (
            OPTIONS,
            {"phrasings": [{"name": "p", "template": "{filled}"}]},
            "phrasing 'p': unknown field 'filled'; there are: option, text",
        ),
        (CHOICE, {"context": ["{text.upper}"]}, "context part 1: template '{text.upper}': only"),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(bad="{")}]},
            "phrasing 'p': template '{'",
        ),
        (CHOICE, {"context": ["a fixed text"]}, "context: no part uses a field"),
        (CHOICE, {"words": {"txt": {"a": "b"}}}, "words: unknown field 'txt'; there are: text"),
        # labels
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(fair=None)}]},
            "phrasing 'p': label 'fair' has none in claims",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(awful="It is awful.")}]},
            "phrasing 'p': unknown label 'awful' in claims",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(), "opposites": {"bad": "Not."}}]},
            "phrasing 'p': label 'fair' has none in opposites",
        ),
        (CHOICE, {"label__ids": {"bad": 0}}, "label.ids: at least two labels are needed"),
        (
            PREDICATE,
            {"label__ids": {"false": 1, "true": True}},
            "label.ids: two labels have the same value",
        ),
        (
            CHOICE,
            {"label__ids": {"bad": 0, "fair": "1", "good": 1.0}},
            "label.ids: two labels have the same value",
        ),
        (
            PREDICATE,
            {"label__ids": {"no": 0, "yes": 1}},
            "label.ids: a predicate has exactly the labels 'true' and 'false'",
        ),
        (
            PREDICATE,
            {"label__ids": {"false": 0, "true": 1, "unknown": 2}},
            "label.ids: a predicate has exactly the labels 'true' and 'false'",
        ),
        (
            SCORE,
            {"label__ids": {"low": 0, "middle": 3, "high": 1}},
            "label.ids: the levels of a score need numbers in rising order",
        ),
        (
            SCORE,
            {"label__ids": {"low": "0", "middle": "1", "high": "3"}},
            "label.ids: the levels of a score need numbers in rising order",
        ),
        (
            TEMPLATE,
            {"label__descriptions": {"bad": "a", "good": "b", "ugly": "c"}},
            "label.descriptions: unknown label 'ugly'; there are: bad, good",
        ),
        (
            TEMPLATE,
            {"label__descriptions": {"bad": "a bad thing"}},
            "phrasing 'about': label 'good' has no description",
        ),
        # templates
        (
            TEMPLATE,
            {"phrasings": [{"name": "p", "template": "It is good."}]},
            "phrasing 'p': template lacks {label}",
        ),
        (
            TEMPLATE,
            {"phrasings": [{**ABOUT, "opposite_template": "It is not."}]},
            "phrasing 'about': template lacks {label}",
        ),
        (
            TEMPLATE,
            {"phrasings": [{"name": "p"}]},
            "phrasing 'p': give either claims or template",
        ),
        (
            TEMPLATE,
            {"phrasings": [{**ABOUT, "claims": {"bad": "Bad.", "good": "Good."}}]},
            "phrasing 'about': give either claims or template",
        ),
        (
            TEMPLATE,
            {
                "phrasings": [
                    {
                        **ABOUT,
                        "opposites": {"bad": "Good.", "good": "Bad."},
                        "opposite_template": "Not {label}.",
                    }
                ]
            },
            "phrasing 'about': give either opposites or opposite_template",
        ),
        # phrasings
        (CHOICE, {"phrasings": [PLAIN, PLAIN]}, "phrasings: two have the same name"),
        (
            CHOICE,
            {"phrasings": [{**PLAIN, "held_out": True}]},
            "phrasings: all are held out, none is left for training",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(fair="it  IS bad")}]},
            "phrasing 'p': the claims of 'bad' and 'fair' are equal: 'it  IS bad'",
        ),
        (
            TEMPLATE,
            {"label__descriptions": {"bad": "a thing", "good": "A thing!"}},
            "phrasing 'about': the claims of 'bad' and 'good' are equal",
        ),
        (
            CHOICE,
            {
                "phrasings": [
                    PLAIN,
                    {
                        "name": "h",
                        "held_out": True,
                        "claims": claims(bad="it is BAD", fair="So so.", good="Fine."),
                    },
                ]
            },
            "held-out phrasing 'h' repeats a claim of training phrasing 'plain': 'it is bad'",
        ),
        (
            TEMPLATE,
            {
                "phrasings": [
                    ABOUT,
                    {
                        "name": "h",
                        "held_out": True,
                        "claims": {"bad": "It is a bad thing!", "good": "It pleases."},
                    },
                ]
            },
            "held-out phrasing 'h' repeats a claim of training phrasing 'about'",
        ),
        # options
        (OPTIONS, {"options": None}, "options: give either columns or column"),
        (OPTIONS, {"options": {}}, "options: give either columns or column"),
        (
            OPTIONS,
            {"options": {"columns": ["a"], "column": "b"}},
            "options: give either columns or column",
        ),
        (
            OPTIONS,
            {"options__fill": "sentence"},
            "options.fill: unknown field 'sentence'; there are: text",
        ),
        (
            OPTIONS,
            {"label__ids": {"a": 0, "b": 1}},
            "label.ids: an options question takes its labels from the row",
        ),
        (
            OPTIONS,
            {"phrasings": [{"name": "p", "claims": {"a": "It is a."}}]},
            "phrasing 'p': an options question needs a template with {option} or {filled}",
        ),
        (
            OPTIONS,
            {"phrasings": [{"name": "p", "template": "The answer to {text}."}]},
            "phrasing 'p': template lacks {option} or {filled}",
        ),
        (
            CHOICE,
            {"options": {"column": "choices"}},
            "options: only for question kind 'options'",
        ),
    ],
)
def test_every_kind_of_problem_is_reported(
    base: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    problems = make(base, **changes).problems()
    assert any(problem in found for found in problems), problems


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    data = {**CHOICE, "context": ["{txt}"], "phrasings": [PLAIN, PLAIN]}
    with pytest.raises(TaskError) as caught:
        Task.from_file(write(tmp_path, data))
    assert "unknown field 'txt'" in str(caught.value)
    assert "two have the same name" in str(caught.value)
    assert str(tmp_path / "toy.yaml") in str(caught.value)


def test_phrasings_are_parted_into_trained_and_held_out() -> None:
    task = make(CHOICE)
    assert [phrasing.name for phrasing in task.training_phrasings] == ["plain"]
    assert [phrasing.name for phrasing in task.held_out_phrasings] == ["held"]


# -- reading a file --------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [CHOICE, TEMPLATE, PREDICATE, SCORE, OPTIONS])
def test_a_file_gives_the_task_that_was_written(tmp_path: Path, base: dict[str, Any]) -> None:
    task = Task.from_file(write(tmp_path, base))
    assert task.path == tmp_path / "toy.yaml"
    assert task.model_dump() == make(base).model_dump()


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(CHOICE), encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert Task.from_file(path).name == "toy"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes("reference: café".encode("latin-1"))
    with pytest.raises(TaskError, match=r"toy\.yaml: is not UTF-8 text; save it as UTF-8"):
        Task.from_file(path)


@pytest.mark.parametrize("text", ["name: [", "a: b: c", "\tname: x", "name: !!python/name:os.x"])
def test_a_file_that_is_not_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"toy\.yaml: is not valid YAML: .+") as caught:
        Task.from_file(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"toy\.yaml: must be a mapping"):
        Task.from_file(write(tmp_path, text))


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskError, match="cannot be read") as caught:
        Task.from_file(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nversion: 1\nname: b",
        "label:\n  ids: {yes: 0, other: 1, yes: 2}",
        "label:\n  ids: {true: 0, 'true': 1}",
        "phrasings:\n  - name: a\n    name: b",
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"key '\w+' stands twice.*line \d"):
        Task.from_file(write(tmp_path, text))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"descripton": "x"}, "descripton: unknown key"),
        ({"label": {**CHOICE["label"], "colum": "x"}}, "label.colum: unknown key"),
        ({"phrasings": [{**PLAIN, "heldout": True}]}, "phrasings.0.heldout: unknown key"),
        ({"source": {"hub": {"path": "a", "code": "b"}}}, "source.hub.code: unknown key"),
        ({"question": "guess"}, "question: Input should be 'predicate', 'choice'"),
        ({"metrics": []}, "metrics: List should have at least 1 item"),
        ({"metrics": ["luck"]}, "metrics.0: Input should be"),
        ({"version": 0}, "version: Input should be greater than or equal to 1"),
        ({"name": "Toy Task"}, "name: String should match pattern"),
        ({"context": []}, "context: List should have at least 1 item"),
        ({"phrasings": []}, "phrasings: List should have at least 1 item"),
    ],
)
def test_keys_and_values_outside_the_schema_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TaskError) as caught:
        Task.from_file(write(tmp_path, {**CHOICE, **changes}))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    data = {key: value for key, value in CHOICE.items() if key != "family"}
    with pytest.raises(TaskError, match="family: Field required"):
        Task.from_file(write(tmp_path, data))


def test_label_names_true_and_false_need_no_quotes(tmp_path: Path) -> None:
    text = """
        name: toy
        version: 1
        family: truth
        question: predicate
        reference: invented
        fields: {text: text}
        context: ["{text}"]
        label: {column: label, ids: {false: 0, true: 1}}
        phrasings:
          - name: plain
            claims:
              false: "It is not so."
              True: "It is so."
        metrics: [accuracy]
    """
    task = Task.from_file(write(tmp_path, textwrap.dedent(text)))
    assert list(task.label.ids) == ["false", "true"]
    assert example(task, text="x", label=True).claims == ("It is not so.", "It is so.")


def test_a_list_of_ids_means_that_the_column_holds_the_names() -> None:
    task = make(CHOICE, label__ids=["bad", "fair", "good"])
    assert task.label.ids == {"bad": "bad", "fair": "fair", "good": "good"}
    assert example(task, sentence="x", label="fair").target == 1


# -- rows: fields and context ----------------------------------------------------------------------


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
    with pytest.raises(DataError, match=r"toy/test/3: column 'sentence' is not text.*are: en, fr"):
        example(make(CHOICE), sentence={"en": "x", "fr": "y"}, label=0)


def test_a_missing_column_lists_those_there_are() -> None:
    with pytest.raises(DataError, match="toy/test/3: no column 'sentence'; there are: label, txt"):
        example(make(CHOICE), txt="x", label=0)
    with pytest.raises(DataError, match="toy/test/3: no column 'label'; there are: sentence"):
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
