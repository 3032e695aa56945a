from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.errors import DataError
from freelm.statements.artefacts import claim_only_accuracy, overlap_accuracy
from freelm.statements.build import build_statements, select, split_of, to_table
from freelm.statements.pairs import Balance, Pair, claim_tokens
from freelm.statements.text import is_verbatim


@pytest.fixture
def root(tmp_path):
    """A data root with small sets for the three sources."""
    snli = [
        {"premise": f"A {colour} {animal} runs.", "hypothesis": text, "label": label}
        for colour in ("red", "black", "brown", "white", "green")
        for animal in ("dog", "cat", "horse", "cow", "pig")
        for text, label in (
            (f"The {animal} is moving.", 0),
            (f"A {colour} animal is running.", 0),
            (f"The {animal} is sleeping.", 2),
        )
    ]
    reading = [
        {
            "source": "squad",
            "passage": f"The museum opened in {year}. A fire broke out in {year + 9}.",
            "question": "When did the museum open?",
            "answer": str(year),
            "distractors": [str(year + 9)],
        }
        for year in range(1900, 1940)
    ]
    articles = [
        f"Anna Bell (born {1900 + n}) was a painter. Bell moved to Rome in {1930 + n}. "
        f"In {1950 + n}, a fire destroyed the old roof. The tower was not rebuilt."
        for n in range(60)
    ]
    for folder, rows in (
        ("teacher/snli", snli),
        ("teacher/reading", reading),
        ("language/wikipedia_en_2014", [{"text": text} for text in articles]),
    ):
        (tmp_path / "data" / folder).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / folder / "train.parquet")
    return tmp_path / "data"


def build(root, out, seed=0):
    build_statements(root, out, seed, lambda line: None)
    splits = ("train", "validation")
    return [pq.read_table(out / "teacher" / "statements" / f"{s}.parquet") for s in splits]


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(root, tmp_path):
    first, again = (build(root, tmp_path / name) for name in ("a", "b"))
    assert first == again
    assert build(root, tmp_path / "c", seed=1) != first


def test_each_row_is_a_text_with_a_true_and_a_false_claim(root, tmp_path):
    rows = [row for table in build(root, tmp_path / "out") for row in table.to_pylist()]
    assert len(rows) > 30
    assert all(row["first"] != row["second"] for row in rows)
    assert {row["source"] for row in rows} == {"snli", "reading/squad", "wikipedia_en_2014"}


def test_the_answer_is_the_number_of_the_true_claim():
    pairs = [pair(f"It is true {n}.", f"It is false {n}.") for n in range(4)]
    rows = to_table(pairs, 0).to_pylist()
    assert all("true" in (row["first"], row["second"])[row["answer"]] for row in rows)
    assert {row["answer"] for row in rows} == {0, 1}


def test_texts_of_one_document_stay_in_one_split():
    assert {split_of(f"doc/{n}") for n in range(500)} == {"train", "validation"}
    assert split_of("doc/1") == split_of("doc/1")


def test_a_root_without_any_of_the_sets_is_refused(tmp_path):
    with pytest.raises(DataError, match="has too few rows of the sets"):
        build_statements(tmp_path, tmp_path / "out", 0, lambda line: None)


def pair(true, false, context="The text."):
    return Pair(context, true, false, "lexical", "snli", context)


def test_words_are_as_often_true_as_false():
    hot = [pair(f"It is hot {n}.", f"It is cold {n}.") for n in range(400)]
    cold = [pair(f"It is cold {n}.", f"It is hot {n}.") for n in range(400, 500)]
    taken = list(select([*cold, *hot]))
    net = Counter()
    for one in taken:
        net.update(claim_tokens(one.true))
        net.subtract(claim_tokens(one.false))
    assert taken
    assert abs(net["hot"]) <= max(3, 0.05 * len(taken)) + 1


def test_negations_stay_balanced():
    pairs = [pair(f"It is open {n}.", f"It is not open {n}.") for n in range(100)]
    assert len(list(select(pairs))) <= 30


def test_copied_true_claims_keep_to_their_share():
    copies = [pair(f"It ran {n}.", f"Ran it {n}.", f"And it ran {n}.") for n in range(300)]
    others = [pair(f"Yes it was {n}.", f"Was it yes {n}.", f"Perhaps {n}.") for n in range(300)]
    taken = list(select([one for both in zip(copies, others, strict=True) for one in both]))
    copied = sum(is_verbatim(one.true, one.context) for one in taken)
    assert 0 < copied <= Balance().verbatim * len(taken)


def test_claims_that_give_themselves_away_are_noticed():
    telling = [pair(f"Yes {n}.", f"No {n}.") for n in range(200)]
    silent = [pair(f"A {n}.", f"B {n}.") for n in range(100)]
    silent += [pair(f"B {n}.", f"A {n}.") for n in range(100)]
    assert claim_only_accuracy(telling[:150], telling[150:]) == 1
    assert claim_only_accuracy(silent[:50] + silent[150:], silent[50:150]) < 0.7


def test_the_overlap_rule_counts_ties_half():
    pairs = [pair("The text.", "The sea.", "The text."), pair("The sea.", "The air.", "The text.")]
    assert overlap_accuracy(pairs) == 0.75


def test_a_claim_of_a_text_is_used_once():
    assert len(list(select([pair("It is A.", "It is B."), pair("It is A.", "It is C.")]))) == 1
