"""Whole runs: the same seed, interruptions of every kind, and what a run leaves behind."""

import errno
import json
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest
import torch

import tiny_runs
from freelm.errors import CheckpointError, ConfigError, DataError, TrainingError
from freelm.export.stock import write_stock
from freelm.io.checksum import file_sha256
from freelm.model.loading import load_model
from freelm.model.saving import read_facts
from freelm.train import checkpoint as checkpoints
from freelm.train import run as module
from freelm.train.checkpoint import list_checkpoints, load_latest
from freelm.train.trainer import Trainer
from freelm.train.validation import Validation
from tiny_runs import (
    INTERACTIONS,
    INTERRUPTED,
    STOPPED,
    Crash,
    config_data,
    facts,
    lora,
    metrics,
    same_run,
    same_weights,
    train_in_child,
    weights,
)


def steps_of(out):
    return [step for step, _ in list_checkpoints(out / "checkpoints")]


# -- the same weights ----------------------------------------------------------------------------


def test_same_seed_same_run(run, straight, tmp_path):
    data = config_data()
    run(data)
    same_run(tmp_path / "run", straight(data))


def test_another_seed_gives_other_weights(straight):
    one, other = (weights(straight(config_data(seed=seed))) for seed in (0, 1))
    assert not any(torch.equal(one[name], other[name]) for name in one if one[name].dim() > 1)


@pytest.mark.parametrize("kind", INTERACTIONS)
def test_a_resumed_run_equals_a_straight_one(run, straight, crash_at, tmp_path, kind):
    """Crashes before steps inside each signal's turn; one checkpoint a step."""
    data = config_data(**INTERACTIONS[kind], train__checkpoint_every=1)
    for step in (1, 3, 4, 7, 11):  # alternate: L|L, T|TT, TT|T, after a round, the last step
        crash_at(step)
        with pytest.raises(Crash):
            run(data)
        assert steps_of(tmp_path / "run")[-1] == step
    crash_at(None)
    assert "resumed after step 11" in run(data)
    same_run(tmp_path / "run", straight(data))


@pytest.mark.parametrize("kind", INTERACTIONS)
def test_steps_after_the_last_checkpoint_are_done_again_once(
    run, straight, crash_at, tmp_path, kind
):
    data = config_data(**INTERACTIONS[kind])  # a checkpoint every 4 steps
    for step in (3, 7, 11):
        crash_at(step)
        with pytest.raises(Crash):
            run(data)
        assert len(metrics(tmp_path / "run")) == step
    crash_at(None)
    run(data)
    same_run(tmp_path / "run", straight(data))


@pytest.mark.parametrize("kind", INTERACTIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_resumed_adapter_run_equals_a_straight_one(
    run, straight, crash_at, tmp_path, tiny_folders, kind, tied
):
    """With dropout, whose draws must depend on the step alone."""
    model = lora(tiny_folders("llama", tied), dropout=0.2)
    data = config_data(**INTERACTIONS[kind], **model, train__checkpoint_every=1, train__num_steps=8)
    for step in (1, 3, 6):
        crash_at(step)
        with pytest.raises(Crash):
            run(data)
    crash_at(None)
    run(data)
    same_run(tmp_path / "run", straight(data))


def test_a_run_that_crashed_after_its_last_step_is_finished(run, straight, tmp_path, monkeypatch):
    data = config_data()

    def crash(*_args):
        raise MemoryError

    monkeypatch.setattr(module, "save_model", crash)
    with pytest.raises(MemoryError):
        run(data)
    monkeypatch.undo()
    assert "resumed after step 12" in run(data)
    same_run(tmp_path / "run", straight(data))


def test_a_finished_run_can_be_asked_for_again(run, straight, tmp_path):
    data = config_data()
    shutil.copytree(straight(data), tmp_path / "run")
    run(data)
    same_run(tmp_path / "run", straight(data))


# -- kill -9 -------------------------------------------------------------------------------------


def test_kill_9_at_each_stage_of_saving(root, straight, tmp_path):
    """Killed at the n-th disk operation of saving, again and again, until a run gets through."""
    data = config_data(train__keep_last=1, train__checkpoint_every=2, train__num_steps=6)
    out, reached, number = tmp_path / "run", 0, 0
    while True:
        number += 1
        code = tiny_runs.run_to_end(train_in_child, data, out, root, {"kill_at": number})
        loaded = load_latest(out / "checkpoints", print)
        done = loaded.step if loaded else 0
        assert done >= reached, "a checkpoint that was whole is gone"
        reached = done
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert number > 10
    same_run(out, straight(data))


def test_kill_9_at_any_moment(root, straight, tmp_path):
    data = config_data(train__checkpoint_every=1, train__num_steps=10)
    out, reached = tmp_path / "run", 0
    for delay in (0.0, 0.05, 0.13, 0.02, 0.21, 0.08):
        process = tiny_runs.start(train_in_child, data, out, root, {"pause": 0.02})
        lines = len(read_lines(out))
        while process.is_alive() and len(read_lines(out)) <= lines:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join(60)
        loaded = load_latest(out / "checkpoints", print)
        assert (loaded.step if loaded else 0) >= reached
        reached = loaded.step if loaded else 0
    assert tiny_runs.run_to_end(train_in_child, data, out, root) == 0
    same_run(out, straight(data))


def read_lines(out):
    path = out / "metrics.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


# -- damage and full disks -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.safetensors", "moments.safetensors", "state.json"])
def test_a_run_goes_on_from_before_a_damaged_checkpoint(run, straight, crash_at, tmp_path, name):
    data = config_data(train__checkpoint_every=2)
    crash_at(7)
    with pytest.raises(Crash):
        run(data)
    assert steps_of(tmp_path / "run") == [4, 6]
    path = tmp_path / "run" / "checkpoints" / "step-0000006" / name
    path.write_bytes(path.read_bytes()[:-1])
    crash_at(None)
    lines = run(data)
    assert any("step-0000006" in line and "trying the checkpoint before" in line for line in lines)
    assert "resumed after step 4" in lines
    same_run(tmp_path / "run", straight(data))


def test_where_no_checkpoint_is_whole_the_run_starts_over_and_keeps_what_it_does(
    run, straight, crash_at, tmp_path
):
    data = config_data(train__checkpoint_every=3, train__keep_last=1)
    crash_at(10)
    with pytest.raises(Crash):
        run(data)
    assert steps_of(tmp_path / "run") == [9]
    (tmp_path / "run" / "checkpoints" / "step-0000009" / "state.json").unlink()
    crash_at(4)
    with pytest.raises(Crash):
        run(data)
    assert steps_of(tmp_path / "run") == [3]
    crash_at(None)
    assert "resumed after step 3" in run(data)
    same_run(tmp_path / "run", straight(data))


def test_starting_over_is_said(run, crash_at, tmp_path):
    data = config_data()
    crash_at(5)
    with pytest.raises(Crash):
        run(data)
    (tmp_path / "run" / "checkpoints" / "step-0000004" / "state.json").unlink()
    crash_at(None)
    assert "no checkpoint is intact; starting from the beginning" in run(data)


def test_a_full_disk_ends_a_run_in_one_line_and_loses_nothing(run, straight, tmp_path, monkeypatch):
    data = config_data()
    own, calls = checkpoints.save_file, []

    def fill(tensors, path):
        calls.append(path)
        if len(calls) > 2:  # the second checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")
        own(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", fill)
    with pytest.raises(CheckpointError, match=r"No space left.*step 4 is intact$") as caught:
        run(data)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert "resumed after step 4" in run(data)
    same_run(tmp_path / "run", straight(data))


# -- refused -------------------------------------------------------------------------------------


def test_another_configuration_is_refused(run, crash_at, tmp_path):
    crash_at(5)
    with pytest.raises(Crash):
        run(config_data())
    crash_at(None)
    with pytest.raises(ConfigError, match=r"\(optimizer.learning_rate, train.num_steps differ\)"):
        run(config_data(optimizer__learning_rate=0.5, train__num_steps=6))
    assert steps_of(tmp_path / "run") == [4]
    assert len(metrics(tmp_path / "run")) == 5


@pytest.mark.parametrize("name", ["teacher/snli/train.parquet", "language/tiny/train.parquet"])
def test_changed_data_are_refused(run, root, crash_at, tmp_path, name):
    own = tmp_path / "root"
    shutil.copytree(root, own)
    crash_at(5)
    with pytest.raises(Crash):
        run(config_data(), data_root=own)
    crash_at(None)
    table = pq.read_table(own / name)
    pq.write_table(table.slice(1), own / name)
    with pytest.raises(DataError, match=f"^{own / name}: has changed"):
        run(config_data(), data_root=own)


def test_resume_never_refuses_a_used_folder(root, straight, tmp_path):
    out = straight(config_data())
    with pytest.raises(CheckpointError, match="choose another with --out"):
        module.train(tiny_runs.make_config(), out, root, resume="never")
    new = module.train(
        tiny_runs.make_config(train__num_steps=2), tmp_path / "new", root, "never", lambda _: None
    )
    assert (new / "freelm.json").is_file()


def test_two_runs_in_one_folder(run, root, tmp_path):
    data, out = config_data(), tmp_path / "run"
    process = tiny_runs.start(train_in_child, data, out, root, {"pause": 60})
    while not (out / "config.yaml").is_file():
        time.sleep(0.02)
    with pytest.raises(CheckpointError, match="another run is using it"):
        run(data)
    process.kill()
    process.join(60)
    run(config_data())


def test_raw_text_needs_a_data_root(tmp_path):
    data = config_data(interaction={"kind": "language_only"})
    del data["teacher"]
    with pytest.raises(DataError, match="raw text needs a data root"):
        module.train(tiny_runs.parse_config(data, "test"), tmp_path / "run", None)


def test_a_block_that_is_longer_than_the_base_takes_is_refused(run, tiny_folders):
    data = config_data(model={"base": str(tiny_folders("gpt2"))}, language__block_length=600)
    with pytest.raises(ConfigError, match=r"block_length 600 is more than .* \(512 positions\)"):
        run(data)


# -- asked to stop -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [1, 6])  # in a language turn, in a teacher turn
def test_a_run_that_is_asked_to_stop_saves_its_state(root, straight, tmp_path, number, step):
    data, out = config_data(train__checkpoint_every=100), tmp_path / "run"
    plan = {"signals": (step, [number])}
    assert tiny_runs.run_to_end(train_in_child, data, out, root, plan) == INTERRUPTED
    assert steps_of(out) == [step + 1]
    assert tiny_runs.run_to_end(train_in_child, data, out, root) == 0
    same_run(out, straight(data))


def test_sigterm_from_outside(root, straight, tmp_path):
    data, out = config_data(train__checkpoint_every=100), tmp_path / "run"
    process = tiny_runs.start(train_in_child, data, out, root, {"pause": 0.3})
    while len(read_lines(out)) < 2:
        time.sleep(0.02)
    process.terminate()
    process.join(60)
    assert process.exitcode == INTERRUPTED
    assert 2 <= steps_of(out)[0] < 12
    assert len(read_lines(out)) == steps_of(out)[0]
    assert tiny_runs.run_to_end(train_in_child, data, out, root) == 0
    same_run(out, straight(data))


def test_a_second_signal_ends_a_run_at_once(root, tmp_path):
    data, out = config_data(train__checkpoint_every=100), tmp_path / "run"
    plan = {"signals": (5, [signal.SIGTERM, signal.SIGINT])}
    assert tiny_runs.run_to_end(train_in_child, data, out, root, plan) == STOPPED
    assert steps_of(out) == []
    assert len(read_lines(out)) == 5


def test_a_stop_during_the_last_step_finishes_the_run(root, straight, tmp_path):
    data, out = config_data(), tmp_path / "run"
    plan = {"signals": (11, [signal.SIGTERM])}
    assert tiny_runs.run_to_end(train_in_child, data, out, root, plan) == 0
    same_run(out, straight(data))


def test_signal_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with module.stop_requests() as event:
        os.kill(os.getpid(), signal.SIGTERM)
        assert event.wait(5)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_run_in_a_thread_has_no_handlers():
    seen = []

    def enter():
        with module.stop_requests() as event:
            seen.append(event.is_set())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [False]


# -- not a number --------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_a_run_before_it_does_harm(run, straight, tmp_path):
    """Poisoned in the middle of a run; the earlier state is intact, and the run resumes."""
    data = config_data()
    own = Trainer.step

    def poisoned(self, number):
        if number == 6:
            with torch.no_grad():
                self.trained[0][:] = float("nan")
        return own(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", poisoned)
        with pytest.raises(TrainingError, match=r"^step 6: the loss is nan \(tiny block \d+"):
            run(data)
    assert "resumed after step 4" in run(data)
    same_run(tmp_path / "run", straight(data))


# -- which checkpoints and which model -----------------------------------------------------------


@pytest.mark.parametrize(
    ("keep_last", "left"), [(1, [12]), (2, [10, 12]), (9, [2, 4, 6, 8, 10, 12])]
)
def test_keep_last(run, tmp_path, keep_last, left):
    run(config_data(train__checkpoint_every=2, train__keep_last=keep_last))
    assert steps_of(tmp_path / "run") == left


@pytest.mark.parametrize("name", ["step-0000200-backup", "step-", "step-latest", "step-12"])
def test_a_stray_folder_does_not_stop_resuming(run, straight, crash_at, tmp_path, name):
    crash_at(9)
    with pytest.raises(Crash):
        run(config_data())
    (tmp_path / "run" / "checkpoints" / name).mkdir()
    (tmp_path / "run" / "checkpoints" / "step-0009999").touch()
    crash_at(None)
    assert "resumed after step 8" in run(config_data())
    same_run(tmp_path / "run", straight(config_data()))
    assert (tmp_path / "run" / "checkpoints" / name).is_dir()


@dataclass(frozen=True)
class Scored(Validation):
    """Judged rows whose accuracy is given, not counted."""

    score: float

    @property
    def accuracy(self):
        return {task: self.score for task, rows in self.examples.items() if rows}


@pytest.fixture
def scores(monkeypatch):
    """`scores([...])`: mean accuracies of the evaluations to come; the last one repeats."""
    own = module.validate

    def plan(values):
        values = list(values)

        def validate(*args):
            score = values.pop(0) if len(values) > 1 else values[0]
            judged = own(*args)
            return Scored(judged.examples, judged.margins, judged.competing, score)

        monkeypatch.setattr(module, "validate", validate)

    return plan


BEST = {"train__keep_best": True, "train__evaluate_every": 3, "train__keep_last": 1}


def test_keep_best_keeps_the_best_and_makes_it_the_model(run, straight, scores, tmp_path):
    scores([0.3, 0.6, 0.6, 0.5])
    lines = run(config_data(**BEST, train__checkpoint_every=5))
    out = tmp_path / "run"
    assert steps_of(out) == [6, 12]
    assert "keeping the best checkpoint, of step 6" in lines
    best = checkpoints.load_checkpoint(out / "checkpoints" / "step-0000006")
    saved = load_model(str(out / "model")).network
    for name, value in best.weights.items():
        assert torch.equal(dict(saved.named_parameters())[name], value)
    assert not same_weights(weights(out), weights(straight(config_data())))
    record = facts(out)["record"]
    assert record["steps"] == 6
    done = [line for line in metrics(out) if "tokens" in line and line["step"] < 6]
    assert record["language_tokens"] == sum(line["language_tokens"] for line in done)
    assert record["language_tokens"] + record["teacher_tokens"] == sum(r["tokens"] for r in done)


def test_keep_best_without_validation_keeps_the_last_step(straight):
    data = config_data(interaction={"kind": "language_only"}, **BEST, train__num_steps=4)
    assert facts(straight(data))["record"]["steps"] == 4


def test_keep_best_where_the_last_is_best(run, straight, scores, tmp_path):
    scores([0.3, 0.4, 0.5, 0.6])
    run(config_data(**BEST))
    assert steps_of(tmp_path / "run") == [12]
    assert same_weights(weights(tmp_path / "run"), weights(straight(config_data())))


def test_each_step_is_saved_once(run, monkeypatch):
    """Saving a step again would take the whole checkpoint away for a moment."""
    saved = []
    own = checkpoints.save_checkpoint

    def save(folder, checkpoint):
        saved.append(checkpoint.step)
        return own(folder, checkpoint)

    monkeypatch.setattr(module, "save_checkpoint", save)
    run(config_data(**BEST, train__checkpoint_every=3))
    assert saved == sorted(set(saved))


def test_patience(run, scores, tmp_path):
    scores([0.5, 0.4, 0.5, 0.9])
    run(config_data(**{**BEST, "train__evaluate_every": 2}, train__patience=2))
    records = metrics(tmp_path / "run")
    assert [r["step"] for r in records if "validation" in r] == [1, 3, 5]
    assert max(r["step"] for r in records) == 5
    assert facts(tmp_path / "run")["record"]["steps"] == 2


def test_patience_is_remembered_over_an_interruption(run, scores, crash_at, tmp_path):
    data = config_data(**{**BEST, "train__evaluate_every": 2, "train__checkpoint_every": 1})
    data["train"]["patience"] = 2
    scores([0.5, 0.4, 0.5, 0.9])
    crash_at(5)
    with pytest.raises(Crash):
        run(data)
    crash_at(None)
    run(data)
    assert max(r["step"] for r in metrics(tmp_path / "run")) == 5


def test_evaluate_every(straight):
    records = metrics(straight(config_data(train__evaluate_every=5)))
    assert [r["step"] for r in records if "validation" in r] == [4, 9, 11]
    scores = [r["validation"] for r in records if "validation" in r]
    assert all(set(s) == {"rte", "snli", "stsb"} for s in scores)
    assert all(0 <= value <= 1 for s in scores for value in s.values())


def test_evaluating_does_not_change_the_training(straight):
    plain, evaluated = (straight(config_data(**c)) for c in ({}, {"train__evaluate_every": 1}))
    assert same_weights(weights(plain), weights(evaluated))


def test_a_battery_without_rows_to_spare(run, root, tmp_path):
    own = tmp_path / "root"
    shutil.copytree(root, own)
    path = own / "teacher" / "rte" / "train.parquet"
    pq.write_table(pq.read_table(path).slice(10, 4), path)
    (own / "overlaps.json").unlink()
    run(config_data(teacher__tasks=["rte"], train__evaluate_every=4), data_root=own)
    assert facts(tmp_path / "run")["temperature"] == 1.0
    run(
        config_data(teacher__tasks=["rte", "snli"], train__evaluate_every=4),
        tmp_path / "second",
        own,
    )
    scores = [r["validation"] for r in metrics(tmp_path / "second") if "validation" in r]
    assert {name for s in scores for name in s} == {"snli"}


# -- what is left behind -------------------------------------------------------------------------


def test_the_run_folder(straight, root):
    out = straight(config_data())
    there = {path.name for path in out.iterdir()}
    assert {"config.yaml", "manifest.json", "metrics.jsonl", "losses.png", "model"} <= there
    assert not [name for name in there if name.startswith(".writing")]
    assert (out / "losses.png").read_bytes().startswith(b"\x89PNG")
    files = json.loads((out / "manifest.json").read_text())["files"]
    names = [f"teacher/{task}/train.parquet" for task in ("rte", "snli", "stsb")]
    assert files.keys() == {str(root / n) for n in [*names, "language/tiny/train.parquet"]}
    assert all(facts["sha256"] == file_sha256(root / name) for name, facts in files.items())


def test_the_metrics(straight):
    records = [json.loads(line) for line in read_lines(straight(config_data()))]
    assert [r["step"] for r in records] == list(range(12))
    assert "".join(r["signal"][0] for r in records) == "llttt" * 2 + "ll"
    for record in records:
        assert (f"{record['signal']}_loss") in record
        assert record["seconds"] > 0
        assert record["gradient_norm"] > 0
        is_language = record["signal"] == "language"
        assert record["language_tokens"] == (3 * 16 if is_language else 0)
        assert record["tokens"] == 48 if is_language else record["tokens"] > 0
    rates = [r["learning_rate"] for r in records]
    assert rates[:3] == [0.005, 0.01, 0.01]
    assert rates[-1] == 0


def test_the_record_of_a_model(straight, root):
    data = config_data()
    out = straight(data)
    found = facts(out)
    record = found["record"]
    assert found["kind"] == "full"
    assert found["base"] is None
    assert found["max_context_tokens"] == 32
    assert 0.05 <= found["temperature"] <= 20
    assert found["temperature"] != 1.0
    assert record["name"] == "tiny"
    assert record["interaction"] == "alternate"
    assert record["steps"] == 12
    assert record["corpora"] == ["tiny"]
    # rte: 60 rows, 3 overlaps, 8 kept for choices, one of them an overlap; snli and stsb keep rows
    # of another split.
    rows = {name: task["rows"] for name, task in record["tasks"].items()}
    assert rows == {"rte": 50, "snli": 60, "stsb": 60 if rows["stsb"] == 60 else 52}
    assert record["overlaps_dropped"] == {"rte": 3, "snli": 0, "stsb": 0}
    assert record["validation_rows"] == 8
    assert record["families"] == sorted({task["family"] for task in record["tasks"].values()})
    assert "entailment" in record["families"]
    lines = metrics(out)
    assert record["language_tokens"] == sum(r["language_tokens"] for r in lines)
    assert record["teacher_tokens"] == sum(r["tokens"] - r["language_tokens"] for r in lines)
    assert record["code"] == json.loads((out / "manifest.json").read_text())["code"]


def test_the_record_of_an_adapter(straight, tiny_base_folder):
    found = facts(straight(config_data(**lora(tiny_base_folder), train__num_steps=3)))
    assert (found["kind"], found["base"]) == ("adapter", str(tiny_base_folder))


def test_what_a_start_was_trained_on_stays_in_the_record(straight, tiny_base_folder):
    model = lora(tiny_base_folder)
    first = straight(config_data(**model, teacher__tasks=["rte"], train__num_steps=3))
    going_on = lora(tiny_base_folder, start=str(first / "model"))
    second = straight(config_data(**going_on, teacher__tasks=["snli"], train__num_steps=3))
    earlier, record = facts(first)["record"], facts(second)["record"]
    assert (list(earlier["tasks"]), list(record["tasks"])) == (["rte"], ["rte", "snli"])
    assert record["went_on_from"] == earlier
    files = json.loads((second / "manifest.json").read_text())["files"]
    assert str(first / "model" / "adapter_model.safetensors") in files


def test_an_exported_base_brings_its_record_along(straight, tiny_base_folder, tmp_path):
    """Else the second model would claim that it never saw the tasks of the first."""
    first = straight(config_data(**lora(tiny_base_folder), teacher__tasks=["rte"]))
    write_stock(str(first / "model"), tmp_path / "exported")
    exported = read_facts(tmp_path / "exported").record
    assert exported == facts(first)["record"]
    model = {"base": str(tmp_path / "exported")}
    second = straight(config_data(model=model, teacher__tasks=["snli"], train__num_steps=3))
    record = facts(second)["record"]
    assert list(record["tasks"]) == ["rte", "snli"]
    assert record["went_on_from"] == exported


@pytest.mark.parametrize("kind", ["language_only", "teacher_only"])
def test_runs_with_one_signal(straight, kind):
    data = config_data(interaction={"kind": kind}, train__num_steps=4)
    del data["teacher" if kind == "language_only" else "language"]
    out = straight(data)
    record = facts(out)["record"]
    assert {r["signal"] for r in metrics(out)} == {kind.removesuffix("_only")}
    assert bool(record["tasks"]) == (kind == "teacher_only")
    assert bool(record["corpora"]) == (kind == "language_only")
    if kind == "language_only":
        assert facts(out)["temperature"] == 1.0
        assert record["overlaps_dropped"] == {}
    assert (out / "losses.png").is_file()


def test_language_only_beside_a_teacher_section_trains_on_no_task(straight):
    out = straight(config_data(interaction={"kind": "language_only"}, train__num_steps=4))
    assert facts(out)["record"]["tasks"] == {}
    assert facts(out)["temperature"] == 1.0


def test_training_lowers_both_losses(run, root, tmp_path):
    """Where there is something to learn: in this copy of rte all rows are entailments."""
    own = tmp_path / "root"
    shutil.copytree(root, own)
    path = own / "teacher" / "rte" / "train.parquet"
    rows = [{**row, "label": 0} for row in pq.read_table(path).to_pylist()]
    tiny_runs.write_rows(path, rows)
    run(
        config_data(teacher__tasks=["rte"], teacher__group_size=1, train__num_steps=40),
        data_root=own,
    )
    for name in ("language", "teacher"):
        losses = [r[f"{name}_loss"] for r in metrics(tmp_path / "run") if r["signal"] == name]
        assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_last_lines_said(run, tmp_path):
    lines = run(config_data(train__num_steps=2))
    assert lines[-1] == f"model: {tmp_path / 'run' / 'model'}"
    assert lines[-2].startswith("temperature ")
