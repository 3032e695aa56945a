import numpy as np
import pyarrow as pa
import pytest

from freelm.errors import InputError
from freelm.files.columns import AnswerColumns
from freelm.judge.combine import option_probabilities
from freelm.judge.engine import Judgement
from freelm.judge.questions import choice, parse_questions, scale

NUMBER, TEXT, FLAG = pa.float64(), pa.string(), pa.bool_()


READING = [("truncated", FLAG), ("windows", pa.int64())]


def share(margin):
    return 1 / (1 + np.exp(-margin))


def test_claims_have_their_probability_under_their_own_words():
    columns = AnswerColumns.of_claims(["It rains. ", "It is late."])
    assert columns.claims == ("It rains.", "It is late.")
    assert columns.schema == pa.schema([("It rains.", NUMBER), ("It is late.", NUMBER), *READING])
    cells = columns.cells(Judgement(np.array([1.0, -2.0]), True))
    assert cells == [pytest.approx(share(1)), pytest.approx(share(-2)), True, 1]


def test_every_answer_says_in_how_many_windows_its_text_was_read():
    judged = Judgement(np.array([1.0, -2.0]), False, 3)
    for question in (choice(["sun", "rain"]), scale("How wet?", ["dry", "wet"])):
        columns = AnswerColumns.of_question(question)
        cells = dict(zip(columns.schema.names, columns.cells(judged), strict=True))
        assert (cells["truncated"], cells["windows"]) == (False, 3)
    claims = AnswerColumns.of_claims(["It rains.", "It is late."])
    assert claims.cells(judged)[-2:] == [False, 3]


def test_labels():
    columns = AnswerColumns.of_question(choice(["sun", "rain"]))
    assert columns.schema == pa.schema(
        [
            ("label", TEXT),
            ("probability", NUMBER),
            ("probability_sun", NUMBER),
            ("probability_rain", NUMBER),
            *READING,
        ]
    )
    sun, rain = option_probabilities([-1.0, 2.0])
    assert columns.cells(Judgement(np.array([-1.0, 2.0]), False)) == [
        "rain",
        rain,
        sun,
        rain,
        False,
        1,
    ]


def test_labels_that_do_not_exclude_one_another_are_listed():
    columns = AnswerColumns.of_question(choice(["sun", "rain", "fog"], multi=True))
    assert columns.schema.names[:3] == ["label", "labels", "probability"]
    assert columns.schema.field("labels").type == pa.list_(TEXT)
    cells = columns.cells(Judgement(np.array([1.0, 2.0, -1.0]), False))
    assert cells[:2] == ["rain", ["sun", "rain"]]
    assert columns.cells(Judgement(np.array([-1.0, -2.0, -1.0]), False))[:2] == [None, []]


def test_levels():
    columns = AnswerColumns.of_question(scale("How wet?", ["dry", "damp", "wet"]))
    assert columns.schema.names == [
        "value",
        "level",
        "probability_dry",
        "probability_damp",
        "probability_wet",
        "truncated",
        "windows",
    ]
    shares = option_probabilities([0.0, 1.0, 3.0])
    value, level, *rest = columns.cells(Judgement(np.array([0.0, 1.0, 3.0]), False))
    assert value == pytest.approx(shares[1] + 2 * shares[2])
    assert (level, rest) == ("wet", [*shares, False, 1])


QUESTIONS = {
    "wet": {"claim": "It rains."},
    "sky": {"labels": {"a": "It rains.", "b": "The sun shines."}, "template": "{}"},
    "how": {"question": "How wet?", "levels": ["dry", "wet"]},
}


def test_named_questions_share_claims_and_have_columns_that_begin_with_their_names():
    columns = AnswerColumns.of_named(parse_questions(QUESTIONS))
    assert columns.claims == ("It rains.", "The sun shines.", "How wet? dry.", "How wet? wet.")
    assert columns.schema.names == [
        *("wet_probability", "wet_truncated", "wet_windows"),
        *("sky_label", "sky_probability", "sky_probability_a", "sky_probability_b"),
        *("sky_truncated", "sky_windows", "how_value", "how_level"),
        *("how_probability_dry", "how_probability_wet", "how_truncated", "how_windows"),
    ]
    cells = dict(
        zip(
            columns.schema.names,
            columns.cells(Judgement(np.array([1.0, 3.0, 0.0, -1.0]), False)),
            strict=True,
        )
    )
    assert cells["wet_probability"] == pytest.approx(share(1))
    assert (cells["sky_label"], cells["how_level"]) == ("b", "dry")
    assert cells["sky_probability_a"] == pytest.approx(option_probabilities([1.0, 3.0])[0])


def test_columns_can_be_put_under_a_name():
    columns = AnswerColumns.of_claims(["It rains."])
    under = columns.under("now")
    assert under.schema.names == ["now_It rains.", "now_truncated", "now_windows"]
    judged = Judgement(np.array([1.0]), False)
    assert under.cells(judged) == columns.cells(judged)


def test_a_table_has_nulls_for_rows_without_answers():
    columns = AnswerColumns.of_question(choice(["sun", "rain"], multi=True))
    cells = columns.cells(Judgement(np.array([1.0, 2.0]), False))
    table = columns.table([None, cells, None])
    assert table.schema == columns.schema
    assert table.to_pylist()[1] == dict(zip(columns.schema.names, cells, strict=True))
    assert table.to_pylist()[0] == table.to_pylist()[2] == dict.fromkeys(columns.schema.names)
    assert columns.table([]).num_rows == 0
    assert columns.table([]).schema == columns.schema


@pytest.mark.parametrize(
    "other",
    [
        {**QUESTIONS, "wet": {"claim": "It snows."}},
        {**QUESTIONS, "sky": {**QUESTIONS["sky"], "threshold": 0.9}},
        {**QUESTIONS, "sky": {**QUESTIONS["sky"], "multi": True}},
        {("dry" if k == "wet" else k): v for k, v in QUESTIONS.items()},
        dict(reversed(QUESTIONS.items())),
        {"wet": QUESTIONS["wet"]},
    ],
)
def test_what_is_asked_is_told_apart(other):
    facts = AnswerColumns.of_named(parse_questions(QUESTIONS)).facts()
    assert facts == AnswerColumns.of_named(parse_questions(QUESTIONS)).facts()
    assert facts != AnswerColumns.of_named(parse_questions(other)).facts()


@pytest.mark.parametrize(
    "make",
    [
        lambda: AnswerColumns.of_claims(["truncated"]),
        lambda: AnswerColumns.of_claims(["It rains.", "windows"]),
        lambda: AnswerColumns.of_named(
            parse_questions(
                {"a": {"labels": ["b_label", "c"]}, "a_probability_b": {"labels": ["x", "y"]}}
            )
        ),
    ],
)
def test_two_answers_in_one_column_are_refused(make):
    with pytest.raises(InputError, match="two answers would be in the column"):
        make()


@pytest.mark.parametrize(
    ("claims", "message"),
    [(["a", "a "], "the claim 'a' is given twice"), ([" "], "claim 1 is empty"), ([], "no claim")],
)
def test_wrong_claims_are_refused(claims, message):
    with pytest.raises(InputError, match=message):
        AnswerColumns.of_claims(claims)
