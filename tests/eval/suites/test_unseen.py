import json

import pytest

from freelm.api import FreeLM
from freelm.errors import DataError, InputError
from freelm.eval.measure import Setting
from freelm.eval.suites.unseen import (
    evaluate_unseen,
    unseen_note,
    unseen_tasks,
)
from freelm.model.saving import ModelFacts
from freelm.tasks import default_registry

REGISTRY = default_registry()


def facts_of(*names, **record):
    tasks = {name: {"family": REGISTRY.get(name).family} for name in names}
    return ModelFacts("full", None, None, {"[cls]": 1}, record={"tasks": tasks, **record})


def test_all_unseen_tasks_with_data(model, world):
    found = [task.name for task in unseen_tasks(model.facts, world)]
    assert found == sorted(found)
    assert "miniworld_sentiment" in found
    assert not {"miniworld_entailment", "miniworld_topic", "rte"} & set(found)
    with pytest.raises(DataError, match="needs a data root"):
        unseen_tasks(model.facts, None)


def test_a_task_asked_for_that_was_trained_on_is_refused_and_the_others_are_done(model, world):
    said = []
    tasks = [REGISTRY.get(name) for name in ("miniworld_topic", "miniworld_qa")]
    results = evaluate_unseen(model, tasks, Setting(world, skip=said.append))
    assert {r.task for r in results} == {"miniworld_qa"}
    assert {r.suite for r in results} == {"unseen"}
    assert said == ["miniworld_topic: skipped: it is not unseen: it was trained on"]
    with pytest.raises(InputError, match="no task is unseen"):
        evaluate_unseen(model, tasks[:1], Setting(world))


def test_base_has_seen_no_task_and_its_results_carry_a_caveat(tiny_base_folder, world):
    base = FreeLM.from_pretrained(tiny_base_folder)
    results = evaluate_unseen(base, [REGISTRY.get("miniworld_topic")], Setting(world, limit=3))
    assert all("untrained base" in r.note for r in results)


def test_overlapping_training_rows_are_noted_unless_dropped(tmp_path):
    overlap = {
        "train_file": "teacher/mrpc/train.parquet",
        "evaluation_file": "teacher/stsb/validation.parquet",
        "rows": 111,
        "train_row_numbers": [1, 2],
    }
    (tmp_path / "overlaps.json").write_text(json.dumps({"overlaps": [overlap]}))
    stsb = REGISTRY.get("stsb")
    assert "111 rows of mrpc" in unseen_note(stsb, facts_of("mrpc"), tmp_path)
    dropped = facts_of("mrpc", overlaps_dropped={"mrpc": 2})
    assert unseen_note(stsb, dropped, tmp_path) is None
    assert unseen_note(REGISTRY.get("sst2"), facts_of("mrpc"), tmp_path) is None
    assert unseen_note(stsb, facts_of("mrpc"), None) is None
