import json
import shutil
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny_runs
from freelm.data.validation_rows import held_out_rows
from freelm.errors import ConfigError, DataError, TaskError
from freelm.tasks import Rows
from freelm.train.signals import (
    build_language_signal,
    build_teacher_signal,
    load_battery,
    signal_files,
    tokenizer_texts,
)
from tiny_runs import make_config


@pytest.fixture
def own_root(root, tmp_path):
    """A copy of the data root that the test may change."""
    shutil.copytree(root, tmp_path / "root")
    return tmp_path / "root"


def relabel(root, task, split, labels):
    path = root / "teacher" / task / f"{split}.parquet"
    rows = pq.read_table(path).to_pylist()
    for number, label in labels.items():
        rows[number]["label"] = label
    tiny_runs.write_rows(path, rows)


def battery_of(root, **changes):
    return load_battery(make_config(**changes).teacher, root)


def ids(examples):
    return {example.id for example in examples}


def test_validation_rows_of_a_task_that_is_reported_on_its_validation_split(root):
    battery = battery_of(root)
    held = ids(battery.validation["rte"])
    kept = set(held_out_rows(battery.train[0], 8))
    assert kept & {3, 4, 50}  # evaluation rows of another task: not for training nor for choices
    assert held == {f"rte/train/{number}" for number in kept - {3, 4, 50}}
    assert set(battery.excluded["rte"]) == kept | {3, 4, 50}


def test_validation_rows_of_a_task_that_is_reported_on_its_test_split(root):
    battery = battery_of(root)
    assert battery.train[1].task.report_split == "test"
    held = ids(battery.validation["snli"])
    assert len(held) == 8
    assert all(name.startswith("snli/validation/") for name in held)
    assert battery.excluded["snli"] == []


def test_validation_rows_never_come_from_the_reported_split(root):
    battery = battery_of(root)
    for rows in battery.train:
        splits = {name.split("/")[1] for name in ids(battery.validation[rows.task.name])}
        assert splits
        assert rows.task.report_split not in splits


def test_excluded_rows_are_never_trained_on(root):
    config = make_config(teacher__temperature=100.0)
    battery = load_battery(config.teacher, root)
    signal = build_teacher_signal(config.teacher, battery, 0)
    drawn = ids(signal.example(index) for index in range(400))
    barred = {f"rte/train/{number}" for number in battery.excluded["rte"]}
    assert len(barred) == 10
    assert drawn.isdisjoint(barred)
    assert len({name for name in drawn if name.startswith("rte")}) == 50
    assert signal.sizes["rte"] == 50


def test_overlaps_are_kept_when_asked(root):
    battery = battery_of(root, teacher__drop_overlaps=False)
    assert battery.overlaps == {"rte": 0, "snli": 0, "stsb": 0}
    assert len(battery.excluded["rte"]) == 8


def test_every_run_keeps_the_same_rows(root):
    # A run that continues another's weights must not choose by rows that the other trained on.
    one, other = (battery_of(root, teacher__temperature=t) for t in (1.0, 2.0))
    assert one.validation == other.validation
    assert one.excluded == other.excluded


@pytest.mark.parametrize("label", [-1, None])
def test_rows_without_a_label_are_left_out(own_root, label):
    relabel(own_root, "snli", "train", {7: label, 20: label})
    relabel(own_root, "rte", "train", {0: label})
    battery = battery_of(own_root)
    assert battery.excluded["snli"] == [7, 20]
    assert 0 in battery.excluded["rte"]
    assert battery.overlaps["rte"] == 3
    signal = build_teacher_signal(make_config().teacher, battery, 0)
    assert signal.sizes["snli"] == 58
    for index in range(300):
        assert signal.example(index).id not in ("snli/train/7", "snli/train/20", "rte/train/0")


def test_validation_rows_without_a_label_are_left_out(own_root):
    relabel(own_root, "snli", "validation", dict.fromkeys(range(0, 30, 2), -1))
    held = battery_of(own_root, teacher__validation_rows=30).validation["snli"]
    assert len(held) == 15
    assert all(example.truths is not None for example in held)


def test_a_task_without_any_label_is_refused(own_root):
    relabel(own_root, "rte", "train", dict.fromkeys(range(60), -1))
    with pytest.raises(DataError, match=r"rte/train\.parquet: its rows have no labels"):
        battery_of(own_root)


def test_a_wrong_label_is_met_before_training_and_its_row_named(own_root):
    relabel(own_root, "rte", "train", {41: 7})
    with pytest.raises(DataError, match=r"^rte/train/41: label 7"):
        battery_of(own_root)


def test_unknown_tasks_and_weights(root):
    with pytest.raises(TaskError, match="unknown task 'rtee'; did you mean 'rte'"):
        battery_of(root, teacher__tasks=["rtee"])
    with pytest.raises(TaskError, match="listed twice"):
        battery_of(root, teacher__tasks=["rte", "rte"])
    with pytest.raises(ConfigError, match=r"^teacher.weights: 'mnli' is not among teacher.tasks"):
        battery_of(root, teacher__weights={"mnli": 2.0})
    with pytest.raises(DataError, match="cola"):
        battery_of(root, teacher__tasks=["cola"])


def test_weights_and_temperature_reach_the_mixture(root):
    def share(**changes):
        config = make_config(**changes)
        signal = build_teacher_signal(config.teacher, load_battery(config.teacher, root), 0)
        size = signal.group_size
        names = [signal.example(i * size).id.split("/")[0] for i in range(1024)]
        return names.count("rte") / 1024

    assert share() == pytest.approx(49 / (49 + 60 + 52), abs=0.03)
    assert share(teacher__temperature=1e6) == pytest.approx(1 / 3, abs=0.002)
    assert share(teacher__cap=10) == pytest.approx(1 / 3, abs=0.002)
    assert share(teacher__temperature=1e6, teacher__weights={"rte": 4.0}) == pytest.approx(
        4 / 6, abs=0.002
    )


def test_the_group_size_reaches_the_mixture(root):
    config = make_config(teacher__group_size=5).teacher
    signal = build_teacher_signal(config, load_battery(config, root), 0)
    names = [signal.example(index).id.split("/")[0] for index in range(40)]
    assert all(len(set(names[start : start + 5])) == 1 for start in range(0, 40, 5))
    assert signal.group_size == 5


def test_language_signal(root, tiny_tokenizer):
    signal = build_language_signal(make_config(), root, tiny_tokenizer)
    assert signal.batch([0, 1]).batch.ids.shape == (2, 16)


def test_language_signal_needs_its_corpora(root, tiny_tokenizer):
    with pytest.raises(DataError, match=r"language/novels: no such corpus.*tiny"):
        build_language_signal(make_config(language__corpora={"novels": 1.0}), root, tiny_tokenizer)
    with pytest.raises(DataError, match="needs a data root"):
        build_language_signal(make_config(), None, tiny_tokenizer)
    with pytest.raises(DataError, match="use a smaller block_length"):
        build_language_signal(make_config(language__block_length=10**6), root, tiny_tokenizer)


def test_the_texts_of_a_tokenizer_are_those_of_both_signals(root):
    texts = list(tokenizer_texts(make_config(), root, battery_of(root)))
    documents = pq.read_table(root / "language" / "tiny" / "train.parquet")["text"].to_pylist()
    assert texts[:60] == documents
    claims = [text for text in texts[60:] if text.startswith(" ")]
    assert " The second text follows from the first." in claims
    held_out = [" Knowing the first text, one can conclude the second."]
    assert not set(held_out) & set(claims)


def test_the_files_of_a_run(root):
    files = signal_files(make_config(), root, battery_of(root))
    names = ["teacher/rte", "teacher/snli", "teacher/stsb", "language/tiny"]
    assert files == [str(root / name / "train.parquet") for name in names]
    assert signal_files(make_config(), root, None) == files[-1:]


def test_labels_in_a_structure_can_be_missing_too():
    """A label column with dots (`answers.key`), some of whose structures are null."""
    task = SimpleNamespace(label=SimpleNamespace(column="answers.key"))
    table = pa.Table.from_pylist([{"answers": {"key": 1}}, {"answers": None}])
    assert Rows(task, "train", table, "file").labels() == [1, None]


def test_overlaps_are_json(own_root):
    (own_root / "overlaps.json").write_text("{")
    with pytest.raises(DataError, match=r"overlaps\.json"):
        battery_of(own_root)
    (own_root / "overlaps.json").write_text(json.dumps({"overlaps": []}))
    assert battery_of(own_root).overlaps["rte"] == 0
