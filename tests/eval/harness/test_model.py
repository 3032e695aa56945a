"""lm-evaluation-harness itself on a tiny model; skipped where it is not installed."""

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from freelm.eval.harness.model import HarnessModel, evaluate_with_harness
from freelm.eval.likelihood import continuation_likelihoods, text_likelihood
from freelm.eval.measure import Setting, evaluate_tasks
from freelm.tasks import default_registry
from tiny import MAX_POSITIONS

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


@pytest.fixture(scope="module")
def stock(freelm_folder):
    """The harness's own model of the same folder: its code, not ours, encodes and computes."""
    return HFLM(pretrained=str(freelm_folder), device="cpu", dtype="float32", batch_size=1)


LONG = "The dog is not there, and the cat sleeps on the mat. " * 90


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("The film is", " a delight."),
        ("", "The dog is not there."),
        ("A cat ", "sleeps on the mat"),
        ("A cat \n ", "sleeps"),
        (LONG, " It wakes."),
        (LONG + "The film is ", "a delight from the first scene to the last."),
    ],
    ids=["plain", "no context", "space at the end", "more space", "long", "long and space"],
)
def test_loglikelihoods_are_those_of_the_harness(model, stock, context, continuation):
    asked = requests("loglikelihood", [(context, continuation)])
    ((log, greedy),) = stock.loglikelihood(asked, disable_tqdm=True)
    assert HarnessModel(model).loglikelihood(asked) == [(pytest.approx(log, rel=1e-4), greedy)]


def test_what_the_harness_would_write_is_greedy_here_too(model, stock):
    context = "The film is"
    (text,) = stock.generate_until(
        requests("generate_until", [(context, {"until": [], "max_gen_toks": 1})]),
        disable_tqdm=True,
    )
    asked = requests("loglikelihood", [(context, text)])
    theirs, ours = stock.loglikelihood(asked, disable_tqdm=True), HarnessModel(model)
    assert ours.loglikelihood(asked)[0][1] == theirs[0][1]


@pytest.mark.parametrize("text", ["The dog is not there.", LONG], ids=["short", "long"])
def test_rolling_likelihoods_are_those_of_the_harness(model, stock, text):
    asked = requests("loglikelihood_rolling", [(text,)])
    (theirs,) = stock.loglikelihood_rolling(asked, disable_tqdm=True)
    assert HarnessModel(model).loglikelihood_rolling(asked) == [pytest.approx(theirs, rel=1e-4)]


def test_the_long_text_has_more_than_two_windows(model, stock):
    assert stock.max_length == model.model.network.max_positions == MAX_POSITIONS
    assert len(stock.tok_encode(LONG)) > 2 * MAX_POSITIONS


def test_generation_ends_before_a_stop(model, monkeypatch):
    monkeypatch.setattr(type(model), "generate", lambda self, *a: " one\ntwo\n\nthree")
    asked = requests("generate_until", [("x", {"until": ["\n\n"]}), ("x", {"until": "\n"})])
    assert HarnessModel(model).generate_until(asked) == [" one\ntwo", " one"]


@pytest.mark.parametrize("name", ["miniworld_topic", "miniworld_qa"])
def test_our_task_run_by_the_harness_has_our_accuracy(model, world, name):
    said = []
    (theirs,) = evaluate_with_harness(
        model, [f"freelm_{name}"], Setting(world, limit=8, skip=said.append)
    )
    assert said == []
    task = default_registry().get(name)
    ours = evaluate_tasks(model, [task], Setting(world, limit=8))[0]
    assert (theirs.metric, theirs.n) == ("acc", 8)
    assert theirs.value == pytest.approx(ours.value)


def test_unknown_task_is_reported_and_skipped(model, world):
    said = []
    found = evaluate_with_harness(
        model, ["no_such_task", "freelm_miniworld_topic"], Setting(world, limit=4, skip=said.append)
    )
    assert {r.task for r in found} == {"freelm_miniworld_topic"}
    assert said[0].startswith("no_such_task: skipped: ")
