"""lm-evaluation-harness itself on a tiny model; skipped where it is not installed."""

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

from freelm.eval.harness_model import HarnessModel, evaluate_with_harness
from freelm.eval.likelihood import continuation_likelihoods, text_likelihood
from freelm.eval.suites import Setting, evaluate_tasks
from freelm.tasks import default_registry

PAIRS = [("The film is", " a delight."), ("", "The dog is not there."), ("A cat ", "sleeps")]


def requests(kind, arguments):
    return [Instance(kind, {}, pair, i) for i, pair in enumerate(arguments)]


def test_the_model_is_registered(freelm_folder):
    assert get_model("freelm") is HarnessModel
    made = HarnessModel.create_from_arg_string(f"pretrained={freelm_folder}", {"batch_size": 1})
    assert made.rank == 0


def test_loglikelihoods_are_ours(model):
    ours = continuation_likelihoods(model.model.network, PAIRS)
    theirs = HarnessModel(model).loglikelihood(requests("loglikelihood", PAIRS))
    assert theirs == [(pytest.approx(f.log, abs=1e-6), f.is_greedy) for f in ours]
    rolled = HarnessModel(model).loglikelihood_rolling(
        requests("loglikelihood_rolling", [(PAIRS[1][1],)])
    )
    assert rolled == [text_likelihood(model.model.network, PAIRS[1][1])]


def test_generation_ends_before_a_stop(model, monkeypatch):
    monkeypatch.setattr(type(model), "generate", lambda self, *a: " one\ntwo\n\nthree")
    asked = requests("generate_until", [("x", {"until": ["\n\n"]}), ("x", {"until": "\n"})])
    assert HarnessModel(model).generate_until(asked) == [" one\ntwo", " one"]


@pytest.mark.parametrize("name", ["miniworld_topic", "miniworld_qa"])
def test_our_task_run_by_the_harness_has_our_accuracy(model, world, name):
    said = []
    (theirs,) = evaluate_with_harness(
        model, [f"freelm_{name}"], Setting(world, limit=8, say=said.append)
    )
    assert said == []
    task = default_registry().get(name)
    ours = evaluate_tasks(model, [task], Setting(world, limit=8))[0]
    assert (theirs.metric, theirs.n) == ("acc", 8)
    assert theirs.value == pytest.approx(ours.value)


def test_an_unknown_task_is_told_of_and_the_others_are_done(model, world):
    said = []
    found = evaluate_with_harness(
        model, ["no_such_task", "freelm_miniworld_topic"], Setting(world, limit=4, say=said.append)
    )
    assert {r.task for r in found} == {"freelm_miniworld_topic"}
    assert said[0].startswith("no_such_task: left out: ")
