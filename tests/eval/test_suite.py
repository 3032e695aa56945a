from dataclasses import replace

import pytest

from freelm.api import FreeLM
from freelm.errors import DataError, InputError
from freelm.eval import suites
from freelm.eval.measure import Setting
from freelm.eval.suite import all_suites, run_suite
from freelm.tasks import default_registry
from tiny_freelm import SEEN

TOPIC = default_registry().get("miniworld_topic")


def measure_with(monkeypatch, name, measure):
    """Let a suite be measured by another function."""
    monkeypatch.setitem(all_suites(), name, replace(all_suites()[name], measure=measure))


def test_each_module_of_the_folder_is_a_suite_of_its_name():
    assert sorted(all_suites()) == suites.names()
    orders = [suite.order for suite in all_suites().values()]
    assert orders == sorted(set(orders))
    for name, suite in all_suites().items():
        assert suite.name == name
        assert suite.title
        assert suites.help_of(name)


@pytest.mark.parametrize("name", ["seen", "unseen", "robust", "calibration"])
def test_a_suite_marks_its_figures(model, world, name):
    found = run_suite(model, name, None, Setting(world, limit=2, seeds=1))
    assert {r.suite for r in found} == {name}
    trained = {r.task for r in found} & set(SEEN)
    assert bool(trained) == (name != "unseen")


def test_tasks_alone_belong_to_no_suite(model, world):
    assert {r.suite for r in run_suite(model, None, [TOPIC], Setting(world))} == {None}


def test_all_are_done_whatever_becomes_of_one(model, world, monkeypatch):
    def fails(model, tasks, setting):
        raise InputError("it cannot be done")

    measure_with(monkeypatch, "robust", fails)
    measure_with(monkeypatch, "language", lambda model, tasks, setting: [])
    said = []
    found = run_suite(model, "all", None, Setting(world, limit=2, skip=said.append))
    assert {r.suite for r in found} == {"seen", "unseen", "claims", "calibration"}
    assert "suite robust: skipped: it cannot be done" in said


def test_the_one_suite_that_was_asked_for_fails_aloud(tiny_base_folder, world):
    base = FreeLM.from_pretrained(tiny_base_folder)
    with pytest.raises(InputError, match="use --tasks"):
        run_suite(base, "seen", None, Setting(world))


def test_a_task_that_was_not_trained_on_is_never_called_seen(model, tiny_base_folder, world):
    said = []
    untaught = default_registry().get("miniworld_consistency")
    taught = default_registry().get(SEEN[0])
    found = run_suite(model, "seen", [untaught, taught], Setting(world, limit=2, skip=said.append))
    assert {r.task for r in found} == {taught.name}
    assert any(line.startswith("miniworld_consistency: skipped") for line in said)
    base = FreeLM.from_pretrained(tiny_base_folder)
    with pytest.raises(InputError, match="on none of --tasks"):
        run_suite(base, "seen", [taught], Setting(world, limit=2))


def test_nothing_measured_is_an_error(model, tmp_path):
    with pytest.raises(DataError, match="nothing could be measured"):
        run_suite(model, None, [TOPIC], Setting(tmp_path))


def test_asked_for_tasks_without_a_question_skip_the_decisions_of_all(model, world, monkeypatch):
    for name in all_suites():
        if name != "decisions":
            measure_with(monkeypatch, name, lambda model, tasks, setting: [])
    said = []
    with pytest.raises(DataError, match="nothing could be measured"):
        run_suite(model, "all", [TOPIC], Setting(world, skip=said.append))
    assert said == []


def test_the_language_suite_measures_text_endings_and_writing(model, world, monkeypatch):
    monkeypatch.setattr("freelm.eval.suites.language.generation.WRITTEN_TOKENS", 4)
    found = run_suite(model, "language", None, Setting(world, limit=2, seeds=1))
    assert {r.suite for r in found} == {"language"}
    metrics = {r.metric for r in found}
    assert {"perplexity", "bits_per_byte", "distinct_2", "repetition"} <= metrics
