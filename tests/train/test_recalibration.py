import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

import tiny_runs
from freelm.api import FreeLM
from freelm.config import TeacherConfig
from freelm.data.validation_rows import unused_split_examples
from freelm.errors import DataError, ModelError
from freelm.model.calibration import NO_CHANGE, ChoiceTemperature
from freelm.model.loading import load_model
from freelm.model.saving import read_facts
from freelm.tasks import Example, default_registry
from freelm.tasks.sources import overlapping_rows
from freelm.train import recalibration as module
from freelm.train.recalibration import Temperatures, mean_calibration_error, recalibrate
from freelm.train.signals import load_battery
from freelm.train.validation import Validation
from tiny_freelm import save_freelm

TASKS = [default_registry().get(name) for name in ("snli", "stsb", "rte")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny_runs.write_root(tmp_path_factory.mktemp("data") / "root", rows=80)


@pytest.fixture
def folder(tmp_path):
    return save_freelm(tmp_path / "model", temperature=3.0, tasks=("snli", "stsb", "rte", "own"))


def found(folder, root, tasks=TASKS, limit=20, say=lambda line: None, even_if_worse=True, **own):
    return recalibrate(str(folder), tasks, root, limit, say, even_if_worse=even_if_worse, **own)


def test_the_temperatures_are_those_that_fit_the_rows(folder, root):
    network = FreeLM.from_pretrained(folder, dtype="fp32").model.network
    examples = {t.name: unused_split_examples(t, 20, root) for t in TASKS[:2]}
    judged = module.validate(network, examples, list(examples), 256, 2048, "fp32")
    result = found(folder, root)
    assert result.rows == {"snli": 20, "stsb": 20}
    assert result.after.verdicts == pytest.approx(judged.temperature(), rel=1e-4)
    expected = astuple(judged.choice_temperature())
    assert astuple(result.after.choices) == pytest.approx(expected, rel=1e-4)


def test_the_model_has_them_and_is_otherwise_as_before(folder, root):
    before, listed = read_facts(folder), sorted(path.name for path in folder.iterdir())
    weights = (folder / "model.safetensors").read_bytes()
    result = found(folder, root)
    after = read_facts(folder)
    assert (result.before.verdicts, result.before.choices) == (3.0, NO_CHANGE)
    assert after.temperature == result.after.verdicts != before.temperature
    assert after.choice_temperature == result.after.choices
    assert after.record == {**before.record, "calibrated_on": {"snli": 20, "stsb": 20}}
    assert sorted(path.name for path in folder.iterdir()) == listed
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_second_time_finds_the_same(folder, root):
    first, second = found(folder, root), found(folder, root)
    assert second.before == second.after == first.after
    assert second.ece_after == first.ece_after


def test_without_tasks_those_of_the_record_are_taken(folder, root):
    said = []
    result = found(folder, root, tasks=None, say=said.append)
    assert result.rows == {"snli": 20, "stsb": 20}
    assert [line.split(":")[0] for line in said if "skipped" in line] == ["own", "rte"]


def keep(folder, rows):
    facts = json.loads((folder / "freelm.json").read_text())
    facts["record"]["validation_rows"] = rows
    (folder / "freelm.json").write_text(json.dumps(facts))


def judged_ids(monkeypatch):
    judged = []

    def noted(network, examples, *others):
        judged.extend(example.id for listed in examples.values() for example in listed)
        return validate(network, examples, *others)

    validate = module.validate
    monkeypatch.setattr(module, "validate", noted)
    return judged


@pytest.mark.parametrize("limit", [4, 20])
def test_without_such_a_split_the_rows_that_training_left_out_are_taken(
    folder, root, monkeypatch, limit
):
    keep(folder, 8)
    judged = judged_ids(monkeypatch)
    battery = load_battery(TeacherConfig(tasks=["rte"], validation_rows=8), root)
    left_out = {example.id for example in battery.validation["rte"]}
    assert left_out
    found(folder, root, tasks=TASKS[2:], limit=limit)
    assert judged
    assert set(judged) <= left_out
    assert len(judged) <= limit
    if limit > 8:
        assert set(judged) == left_out


def test_a_task_that_was_never_trained_on_gives_rows_of_its_training_split(
    tmp_path, root, monkeypatch
):
    judged = judged_ids(monkeypatch)
    other = save_freelm(tmp_path / "other", tasks=("snli",))
    result = found(other, root, tasks=TASKS[2:])
    assert result.rows == {"rte": len(judged)}
    assert all(name.startswith("rte/train/") for name in judged)
    reported = {f"rte/train/{n}" for n in overlapping_rows(TASKS[2], root)}
    assert reported
    assert not reported & set(judged)


def row(margin, right, number, task="snli"):
    truths, labels = ((1.0, 0.0) if right else (0.0, 1.0)), ("x", "y")
    name = f"{task}/validation/{number}"
    example = Example(name, ("a",), labels, labels, (), truths, truths.index(1.0))
    return task, example, np.array([margin, -margin])


def validation(rows):
    """Judged rows of choices."""
    examples, margins = {}, {}
    for task, example, own in rows:
        examples.setdefault(task, []).append(example)
        margins.setdefault(task, []).append(own)
    return Validation(examples, margins, list(examples))


def test_calibration_error_by_hand():
    # Three of four are right at a probability of 0.9, all at one of 0.6: the mean of the tasks.
    nine, six = np.log(9) / 2, np.log(1.5) / 2
    rows = [row(nine, number < 3, number) for number in range(4)]
    rows += [row(six, True, number, "rte") for number in range(2)]
    judged = validation(rows)
    tasks = {task.name: task for task in TASKS}
    error = mean_calibration_error([(judged, Temperatures(1.0, NO_CHANGE))], tasks)
    assert error == pytest.approx((0.15 + 0.4) / 2)
    halved = mean_calibration_error([(judged, Temperatures(2.0, NO_CHANGE))], tasks)
    assert (
        halved
        == mean_calibration_error([(judged, Temperatures(1.0, ChoiceTemperature(2.0, 9.0)))], tasks)
        != error
    )


def test_each_fold_is_measured_with_what_fits_the_others(folder, root, monkeypatch):
    # The first fold is right half the time, the others always: what fits those is too sure of it.
    rows = [row(2.0, number % 5 != 0 or number % 10 == 0, number) for number in range(40)]
    monkeypatch.setattr(module, "validate", lambda *arguments: validation(rows))
    result = found(folder, root, tasks=TASKS[:1])
    crossed = []
    for fold in range(5):
        rest = [r for number, r in enumerate(rows) if number % 5 != fold]
        crossed.append((validation(rows[fold::5]), module._fit(validation(rest))))
    tasks = {"snli": TASKS[0]}
    assert result.ece_after == mean_calibration_error(crossed, tasks)
    assert result.ece_after > mean_calibration_error([(validation(rows), result.after)], tasks)


def noise(count):
    """Rows whose labels have nothing to do with their margins."""
    rng = np.random.default_rng(3)
    draws = zip(rng.normal(0, 3, count), rng.integers(0, 2, count), strict=True)
    return [row(margin, right, number) for number, (margin, right) in enumerate(draws)]


def test_calibration_is_not_made_worse_unless_asked(folder, root, monkeypatch):
    rows = noise(12)
    monkeypatch.setattr(module, "validate", lambda *arguments: validation(rows))
    monkeypatch.setattr(module.Recalibration, "is_worse", True)
    before, said = read_facts(folder), []
    result = found(folder, root, tasks=TASKS[:1], say=said.append, even_if_worse=False)
    assert result.folder is None
    assert read_facts(folder) == before
    assert "calibration would get worse; --even-if-worse" in said[-1]
    assert found(folder, root, tasks=TASKS[:1]).folder == folder
    assert read_facts(folder).temperature == result.after.verdicts


@pytest.mark.parametrize(("after", "worse"), [(0.2, True), (0.1, False), (None, False)])
def test_worse_means_a_larger_error(after, worse):
    same = Temperatures(1.0, NO_CHANGE)
    found = module.Recalibration(None, {}, same, same, None if after is None else 0.1, after)
    assert found.is_worse is worse


@pytest.mark.parametrize("count", [99, 100])
def test_few_rows_are_warned_of(folder, root, monkeypatch, count):
    rows = noise(count)
    monkeypatch.setattr(module, "validate", lambda *arguments: validation(rows))
    said = []
    found(folder, root, tasks=TASKS[:1], say=said.append)
    assert any("only 99 rows" in line for line in said) is (count < 100)


def test_a_copy_gets_the_temperatures_and_the_model_keeps_its_own(folder, root, tmp_path):
    before, out = read_facts(folder), tmp_path / "copy"
    result = found(folder, root, out=out)
    assert result.folder == out
    assert read_facts(folder) == before
    assert read_facts(out).temperature == result.after.verdicts
    assert (out / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match="exists already; give a new folder with --out"):
        found(folder, root, out=out)


def test_scores_have_no_label_to_be_sure_of(folder, root):
    result = found(folder, root, tasks=TASKS[1:2])
    assert (result.ece_before, result.ece_after) == (None, None)


def test_a_release_is_copied_by_its_own_name(folder, root, tmp_path, monkeypatch):
    shipped = save_freelm(tmp_path / "shipped" / "toy", 3.0, ("snli",))
    (shipped / "verdicts.jsonl").write_text("{}\n")
    monkeypatch.setattr("freelm.model.releases.RELEASES", shipped.parent)
    monkeypatch.setattr(module, "load_model", lambda name: load_model(str(shipped)))
    monkeypatch.chdir(tmp_path)
    facts = read_facts(shipped)
    result = found("toy", root, tasks=None)
    assert result.folder == Path("toy-calibrated")
    assert read_facts(shipped) == facts
    assert read_facts(result.folder).temperature == result.after.verdicts
    assert not (result.folder / "verdicts.jsonl").exists()


def test_what_cannot_be_is_said(folder, root, tmp_path):
    with pytest.raises(DataError, match="no task has rows that are neither"):
        found(folder, root, tasks=TASKS[2:])
    with pytest.raises(ModelError, match="no folder of a trained model"):
        found(tmp_path / "nothing", root)
    assert read_facts(folder).temperature == 3.0
