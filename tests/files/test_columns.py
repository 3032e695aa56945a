import numpy as np
import pyarrow as pa
import pytest

from freelm.errors import InputError
from freelm.files.columns import AnswerColumns
from freelm.judge.probabilities import option_probabilities
from freelm.judge.questions import check, choice, parse_questions, score
from freelm.judge.requests import Judgement

NUMBER, TEXT, FLAG = pa.float64(), pa.string(), pa.bool_()


CONTEXT = [("truncated", FLAG), ("windows", pa.int64())]


def cells_of(columns, margins, truncated=False):
    return columns.cells(Judgement(columns.claims, np.array(margins), truncated))


def share(margin):
    return 1 / (1 + np.exp(-margin))


def test_claims_have_their_probability_under_their_own_words():
    columns = AnswerColumns.of_claims(["It rains. ", "It is late."], "")
    assert columns.claims == ("It rains.", "It is late.")
    assert columns.schema == pa.schema([("It rains.", NUMBER), ("It is late.", NUMBER), *CONTEXT])
    cells = cells_of(columns, [1.0, -2.0], True)
    assert cells == [pytest.approx(share(1)), pytest.approx(share(-2)), True, 1]


def test_every_answer_has_its_number_of_windows():
    for question in (choice(["sun", "rain"]), score("How wet?", ["dry", "wet"])):
        columns = AnswerColumns.of_question(question, "")
        judgement = Judgement(columns.claims, np.array([1.0, -2.0]), False, 3)
        cells = dict(zip(columns.schema.names, columns.cells(judgement), strict=True))
        assert (cells["truncated"], cells["windows"]) == (False, 3)


def test_labels_have_their_probabilities_and_the_verdicts_that_thresholds_are_compared_with():
    columns = AnswerColumns.of_question(choice(["sun", "rain"], threshold=0.9), "")
    numbers = ["probability", "verdict", "probability_sun", "probability_rain"]
    numbers += ["verdict_sun", "verdict_rain"]
    assert columns.schema == pa.schema(
        [("label", TEXT), *((name, NUMBER) for name in numbers), *CONTEXT]
    )
    sun, rain = option_probabilities([-1.0, 2.0])
    cells = cells_of(columns, [-1.0, 2.0])
    assert cells[0] is None
    own = [share(2), sun, rain, share(-1), share(2)]
    assert cells[1:] == [pytest.approx(rain), *map(pytest.approx, own), False, 1]


def test_with_multi_all_labels_that_fit_are_listed():
    columns = AnswerColumns.of_question(choice(["sun", "rain", "fog"], multi=True), "")
    assert columns.schema.names[:4] == ["label", "labels", "probability", "verdict"]
    assert "verdict_sun" not in columns.schema.names
    assert columns.schema.field("labels").type == pa.list_(TEXT)
    cells = cells_of(columns, [1.0, 2.0, -1.0])
    assert cells[:2] == ["rain", ["sun", "rain"]]
    assert cells[2:5] == [pytest.approx(share(2))] * 2 + [pytest.approx(share(1))]
    assert cells_of(columns, [-1.0, -2.0, -1.0])[:2] == [None, []]


def test_checks():
    columns = AnswerColumns.of_question(check("It rains."), "")
    results = ["supported", "contradicted", "not_stated"]
    assert columns.schema.names[:4] == ["result", *(f"probability_{name}" for name in results)]
    assert cells_of(columns, [0.0, 3.0, 1.0])[:2] == [
        "contradicted",
        pytest.approx(option_probabilities([0.0, 3.0, 1.0])[0]),
    ]


def test_levels():
    columns = AnswerColumns.of_question(score("How wet?", ["dry", "damp", "wet"]), "")
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
    value, level, *rest = cells_of(columns, [0.0, 1.0, 3.0], False)
    assert value == pytest.approx(shares[1] + 2 * shares[2])
    assert (level, rest) == ("wet", [*shares, False, 1])


QUESTIONS = {
    "wet": {"claim": "It rains."},
    "sky": {"labels": {"a": "It rains.", "b": "The sun shines."}, "template": "{}"},
    "how": {"question": "How wet?", "levels": ["dry", "wet"]},
}


def test_named_questions_share_claims_and_have_columns_that_begin_with_their_names():
    columns = AnswerColumns.of_named(parse_questions(QUESTIONS), "")
    assert columns.claims == ("It rains.", "The sun shines.", "How wet? dry.", "How wet? wet.")
    assert columns.schema.names == [
        *("wet_probability", "wet_truncated", "wet_windows"),
        *("sky_label", "sky_probability", "sky_verdict", "sky_probability_a"),
        *("sky_probability_b", "sky_verdict_a", "sky_verdict_b"),
        *("sky_truncated", "sky_windows", "how_value", "how_level"),
        *("how_probability_dry", "how_probability_wet", "how_truncated", "how_windows"),
    ]
    cells = dict(
        zip(
            columns.schema.names,
            cells_of(columns, [1.0, 3.0, 0.0, -1.0], False),
            strict=True,
        )
    )
    assert cells["wet_probability"] == pytest.approx(share(1))
    assert (cells["sky_label"], cells["how_level"]) == ("b", "dry")
    assert cells["sky_probability_a"] == pytest.approx(option_probabilities([1.0, 3.0])[0])


def test_all_columns_begin_with_the_prefix():
    for arguments, prefix in (([], "freelm_"), (["now."], "now."), ([""], "")):
        columns = [
            AnswerColumns.of_claims(["It rains."], *arguments),
            AnswerColumns.of_question(choice(["sun", "rain"]), *arguments),
            AnswerColumns.of_named(parse_questions(QUESTIONS), *arguments),
        ]
        names = [columns[0].schema.names[0], columns[1].schema.names[0], columns[2].schema.names[0]]
        assert names == [f"{prefix}It rains.", f"{prefix}label", f"{prefix}wet_probability"]
        assert all(name.startswith(prefix) for own in columns for name in own.schema.names)


def test_a_table_has_nulls_for_rows_without_answers():
    columns = AnswerColumns.of_question(choice(["sun", "rain"], multi=True), "")
    cells = cells_of(columns, [1.0, 2.0], False)
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
    facts = AnswerColumns.of_named(parse_questions(QUESTIONS)).fingerprint()
    assert facts == AnswerColumns.of_named(parse_questions(QUESTIONS)).fingerprint()
    assert facts != AnswerColumns.of_named(parse_questions(other)).fingerprint()


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
        AnswerColumns.of_claims(claims, "")
