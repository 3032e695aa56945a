import hashlib
import json
import re
from collections import Counter
from contextlib import suppress
from random import Random

import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from freelm.errors import DataError
from freelm.miniworld import TASKS, UNSEEN_FAMILY, write_miniworld
from freelm.miniworld import judgements as judge
from freelm.miniworld import relations as relate
from freelm.miniworld.sentences import FORMS, sentence
from freelm.miniworld.tasks import COLUMNS, MECHANISMS, NUM_LABELS, task_rows
from freelm.miniworld.world import SPLITS, Fact, NothingOwned, World, split_of
from freelm.miniworld.writer import EVALUATION_ROWS, TRAIN_ROWS
from freelm.tasks import default_registry

SMALL = {"train_rows": 60, "evaluation_rows": 20, "num_documents": 30}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("miniworld") / "root"
    write_miniworld(path, seed=0)
    return path


def read(root, task, split):
    return pq.read_table(root / "teacher" / task / f"{split}.parquet").to_pylist()


def read_texts(root, split):
    return pq.read_table(root / "language" / "miniworld" / f"{split}.parquet")["text"].to_pylist()


def sentences_of(text):
    parts = re.findall(r"[^.?!:]+[.?!]", text)
    return {" ".join(re.findall(r"\w+", part.casefold())) for part in parts}


def row_sentences(task, rows):
    return {s for row in rows for column in COLUMNS[task] for s in sentences_of(row[column])}


def files_below(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# -- the data root ---------------------------------------------------------------------------------


def test_same_seed_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_miniworld(tmp_path / name, seed=3, **SMALL)
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


def test_other_seed_other_rows(tmp_path):
    for seed in (0, 1):
        write_miniworld(tmp_path / str(seed), seed=seed, **SMALL)
    first, second = (files_below(tmp_path / str(seed)) for seed in (0, 1))
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_manifest_names_every_file_with_its_checksum(root):
    entries = json.loads((root / "MANIFEST.json").read_text())["files"]
    on_disk = {str(name) for name in files_below(root)} - {"MANIFEST.json"}
    assert {entry["file"] for entry in entries} == on_disk
    assert len(entries) == (len(TASKS) + 1) * len(SPLITS)
    for entry in entries:
        content = (root / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert pq.read_metadata(root / entry["file"]).num_rows == entry["rows"]


def test_default_sizes(root):
    for task in TASKS:
        sizes = [len(read(root, task, split)) for split in SPLITS]
        assert sizes == [TRAIN_ROWS, EVALUATION_ROWS, EVALUATION_ROWS]


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_miniworld(tmp_path, **SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("freelm.miniworld.writer.pq.write_table", full)
    with pytest.raises(DataError, match="No space left"):
        write_miniworld(tmp_path / "root", **SMALL)
    assert list(tmp_path.iterdir()) == []


# -- splits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_no_sentence_of_an_evaluation_split_is_trained_on(root, task):
    trained = row_sentences(task, read(root, task, "train"))
    for text in read_texts(root, "train"):
        trained |= sentences_of(text)
    for split in ("validation", "test"):
        assert not trained & row_sentences(task, read(root, task, split))


def test_validation_and_test_share_no_row(root):
    for task in TASKS:
        rows = [
            {tuple(str(v) for v in row.values()) for row in read(root, task, s)} for s in SPLITS
        ]
        assert not rows[1] & rows[2]


def test_every_word_of_the_evaluation_is_trained_on(root):
    def words(texts):
        return {word for text in texts for word in re.findall(r"\w+", text)}

    texts = read_texts(root, "train")
    for task in TASKS:
        definition = default_registry().get(task)
        if definition.family == UNSEEN_FAMILY:
            continue
        for row in read(root, task, "train"):
            texts += [row[column] for column in COLUMNS[task]]
            example = definition.example(row, "row", definition.training_phrasings[0])
            texts += example.claims
        for phrasing in definition.training_phrasings:
            texts += definition.example(row, "row", phrasing).claims
    known = {word.casefold() for word in words(texts)}
    assert 150 <= len(known) <= 350
    for task in TASKS:
        definition = default_registry().get(task)
        for split in ("validation", "test"):
            for row in read(root, task, split):
                for phrasing in definition.phrasings:
                    example = definition.example(row, "row", phrasing)
                    used = words([*example.context, *example.claims])
                    assert {word.casefold() for word in used} <= known


def test_the_split_of_words_ignores_their_order_and_fills_all_splits():
    assert split_of(["a", "b", "c"]) == split_of(["c", "a", "b"])
    shares = Counter(split_of([str(i), "x"]) for i in range(3000))
    assert shares["train"] > 1900
    assert min(shares["validation"], shares["test"]) > 300


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_labels_are_balanced(root, task):
    for split in SPLITS:
        rows = read(root, task, split)
        if task in NUM_LABELS:
            counts = Counter(row["label"] for row in rows)
            assert len(counts) == NUM_LABELS[task]
            for count in counts.values():
                assert abs(count / len(rows) - 1 / NUM_LABELS[task]) < 0.05
        else:
            right = sum(row["answer"] == 0 for row in rows) / len(rows)
            expected = sum(1 / len(row["options"]) for row in rows) / len(rows)
            assert abs(right - expected) < 0.05


@pytest.mark.parametrize("task", TASKS)
def test_rows_render_in_every_phrasing(root, task):
    definition = default_registry().get(task)
    assert len(definition.training_phrasings) >= 2
    assert definition.held_out_phrasings
    for split in SPLITS:
        for row in read(root, task, split):
            for phrasing in definition.phrasings:
                example = definition.example(row, "row", phrasing)
                assert sorted(example.truths)[-2:] == [0.0, 1.0]
                assert len(set(example.claims)) == len(example.claims)


def test_the_unseen_family_is_of_one_task_only():
    families = Counter(default_registry().get(task).family for task in TASKS)
    assert families[UNSEEN_FAMILY] == 1
    assert len(families) == len(TASKS) >= 7


def test_right_answer_is_in_the_text_and_the_wrong_one_in_the_question(root):
    for row in read(root, "miniworld_qa", "test"):
        text, question = (re.findall(r"\w+", row[column]) for column in ("text", "question"))
        assert row["options"][row["answer"]] in text
        assert all(option in text + question for option in row["options"])


@pytest.mark.parametrize("task", TASKS)
def test_a_bag_of_words_stays_behind(root, task):
    def texts(rows):
        return [" [sep] ".join(str(row[c]) for c in (*COLUMNS[task],)) for row in rows]

    def labels(rows):
        return [row["label"] if "label" in row else row["answer"] for row in rows]

    train, test = read(root, task, "train"), read(root, task, "test")
    counts = CountVectorizer(token_pattern=r"\w+|\[sep\]")
    model = LogisticRegression(max_iter=200).fit(counts.fit_transform(texts(train)), labels(train))
    accuracy = model.score(counts.transform(texts(test)), labels(test))
    chance = 1 / NUM_LABELS.get(task, 2)
    assert accuracy < (0.85 if task == "miniworld_topic" else chance + 0.2)


# -- gold labels -----------------------------------------------------------------------------------


def worlds(split="train"):
    return [World(Random(seed), split) for seed in range(40)]


def drawn(mechanism, *arguments):
    """Rows of a mechanism, leaving out draws that the split does not own."""
    for world in worlds():
        with suppress(NothingOwned):
            yield mechanism(world, *arguments)


def test_forms_of_a_kind_mean_the_same():
    fact = Fact("gift", "give", ("Anna", "Tom", "kite"))
    assert [sentence(fact, form) for form in range(len(FORMS["give"]))] == [
        "Anna gave the kite to Tom.",
        "Tom got the kite from Anna.",
        "The kite was given to Tom by Anna.",
    ]
    older = Fact("compare", "old", ("Anna", "Tom"))
    assert sentence(older, 1) == "Tom is younger than Anna."
    assert sentence(older.swapped(), 0) == "Tom is older than Anna."
    helped = Fact("deed", "help", ("Anna", "Tom"))
    assert sentence(helped, 1, negated=True) == "Tom was not helped by Anna."


def roles_of(text):
    """(agent, verb, patient) of a sentence of a deed, and whether it is denied."""
    active = re.fullmatch(r"(\w+) (did not )?(\w+) (\w+)\.", text)
    if active:
        agent, denied, verb, patient = active.groups()
    else:
        passive = re.fullmatch(r"(\w+) was (not )?(\w+) by (\w+)\.", text)
        patient, denied, verb, agent = passive.groups()
    return (agent, verb.removesuffix("ed")[:4], patient), bool(denied)


def test_wrong_rewordings_of_deeds_are_of_another_fact():
    for text, right, (wrong,) in drawn(relate.rewording, "deed"):
        said, meant, other = (roles_of(one)[0][::2] for one in (text, right, wrong))
        assert said == meant != other


def test_statements_about_deeds_follow_or_do_not(monkeypatch):
    monkeypatch.setattr(relate, "DISTRACTOR_SHARE", 0.0)
    for text, right, (wrong,) in drawn(relate.statement, "deed"):
        (said, denied), (meant, too), (other, not_so) = map(roles_of, (text, right, wrong))
        assert (said[::2], denied) == (meant[::2], too)
        assert (other[::2], not_so) != (said[::2], denied)


def test_a_wrong_comparison_exchanges_the_roles():
    for _, right, (wrong,) in drawn(relate.statement, "compare"):
        assert right != wrong
        assert sorted(right.rstrip(".").split()) == sorted(wrong.rstrip(".").split())


@pytest.mark.parametrize(
    ("mechanism", "label", "pattern"),
    [
        (judge.tense_agreement, 1, r"Yesterday \w+ \w+ \w+\.|Tomorrow \w+ will \w+ \w+\."),
        (judge.tense_agreement, 0, r"Tomorrow \w+ \w+ \w+\.|Yesterday \w+ will \w+ \w+\."),
        (judge.number_agreement, 1, r"The (\w+[^s] near the \w+ is|\w+s near the \w+ are) \w+\."),
        (judge.number_agreement, 0, r"The (\w+[^s] near the \w+ are|\w+s near the \w+ is) \w+\."),
    ],
)
def test_acceptability_is_right(mechanism, label, pattern):
    for world in worlds():
        assert re.fullmatch(pattern, mechanism(world, label)[0])


def test_questions_have_the_right_answer():
    for text, question, answer, wrong in drawn(judge.where_is):
        person = question.split()[1]
        assert (
            f"{person} is in the {answer}" in text or f"The {answer} is where {person} is" in text
        )
        assert len(wrong) == 1


# -- raw text --------------------------------------------------------------------------------------


def test_documents_are_short_texts(root):
    for split in SPLITS:
        for text in read_texts(root, split):
            assert text == text.strip()
            assert "  " not in text
            assert 3 <= len(re.findall(r"[.?](?:\s|$)", text)) <= 15
            assert "[" not in text


def test_every_mechanism_serves_every_split():
    assert set(MECHANISMS) == set(TASKS)
    for task in TASKS:
        for split in SPLITS:
            assert len(task_rows(task, split, 30, seed=5)) == 30
