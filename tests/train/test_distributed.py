import re
import signal
import socket
from pathlib import Path

import pytest
from torch import nn

import tiny_runs
from freelm.errors import TrainingError
from freelm.train.checkpoint import list_checkpoints
from freelm.train.distributed import ProcessGroup, join_process_group, report_lost_processes
from tiny_runs import (
    FAILED,
    INTERACTIONS,
    INTERRUPTED,
    config_data,
    facts,
    furthest,
    lora,
    metrics,
    train_in_child,
    train_in_world,
    weights,
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_together(size, data, out, root, plan=None):
    port = free_port()
    return [
        tiny_runs.start(train_in_world, rank, size, port, data, out, root, plan)
        for rank in range(size)
    ]


def train_together(size, data, out, root, plan=None):
    processes = start_together(size, data, out, root, plan)
    for process in processes:
        process.join(90)
    for process in processes:
        if process.is_alive():  # one of them waits for another that has gone
            process.kill()
            process.join(10)
    return [process.exitcode for process in processes]


def test_a_single_process_needs_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = join_process_group()
    assert group == ProcessGroup(0, 1)
    assert group.is_main
    assert group.sum(2.5) == 2.5
    group.wait()
    module = nn.Linear(2, 2)
    assert group.wrap(module) is module


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_whole_and_disjoint(size):
    groups = [ProcessGroup(rank, size) for rank in range(size)]
    shares = [list(group.share(range(5))) for group in groups]
    assert sorted(item for share in shares for item in share) == [0, 1, 2, 3, 4]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [group.is_main for group in groups] == [True] + [False] * (size - 1)


@pytest.mark.parametrize(
    ("size", "kind", "adapted"),
    [
        (2, "alternate", False),
        pytest.param(2, "mixed", True, marks=pytest.mark.slow),
        pytest.param(4, "alternate", False, marks=pytest.mark.slow),
    ],
)
def test_several_processes_give_the_weights_of_one(
    root, straight, tmp_path, tiny_base_folder, size, kind, adapted
):
    """With four, one has no block of a language step (3 blocks)."""
    model = lora(tiny_base_folder) if adapted else {}
    data = config_data(
        **INTERACTIONS[kind],
        **model,
        optimizer__learning_rate=1e-3,
        train__evaluate_every=3,
        train__keep_best=True,
        train__num_steps=6,
    )
    out = tmp_path / "run"
    assert train_together(size, data, out, root) == [0] * size
    alone = straight(data)
    assert furthest(weights(out), weights(alone)) < 1e-6
    assert facts(out)["temperature"] == pytest.approx(facts(alone)["temperature"], rel=1e-3)
    assert len(metrics(out)) == len(metrics(alone))
    for one, other in zip(metrics(out), metrics(alone), strict=True):
        assert one.keys() == other.keys()
        assert one.get("tokens") == other.get("tokens")
        for key in one.keys() & {"language_loss", "teacher_loss", "gradient_norm"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4)


def test_all_processes_stop_after_the_same_step(root, straight, tmp_path):
    """Only one of them is asked to; then the run resumes in one process."""
    data = config_data(optimizer__learning_rate=1e-3, train__checkpoint_every=100)
    out = tmp_path / "run"
    plan = {"signals": (4, [signal.SIGTERM])}
    assert train_together(2, data, out, root, plan) == [INTERRUPTED, INTERRUPTED]
    assert [step for step, _ in list_checkpoints(out / "checkpoints")] == [5]
    assert tiny_runs.run_to_end(train_in_child, data, out, root) == 0
    assert furthest(weights(out), weights(straight(data))) < 1e-6


def test_the_first_process_decides_what_is_best_and_when_patience_ends(root, tmp_path):
    """Scores that differ by rounding must not let one process save or stop alone."""
    data = config_data(
        train__evaluate_every=2, train__keep_best=True, train__patience=2, train__num_steps=10
    )
    out = tmp_path / "run"
    plan = {"scores": {0: [0.5, 0.6, 0.6, 0.6], 1: [0.5, 0.4, 0.7, 0.8, 0.9]}}
    assert train_together(2, data, out, root, plan) == [0, 0]
    record = facts(out)["record"]
    assert record["steps"] == 4
    assert max(line["step"] for line in metrics(out)) == 7


LOST = r"TrainingError: process 0: another of the 2 processes died or did not answer .*resume"


@pytest.mark.slow
def test_a_run_ends_when_a_process_dies_and_resumes_with_another_number(root, straight, tmp_path):
    data = config_data(optimizer__learning_rate=1e-3, train__checkpoint_every=2)
    out = tmp_path / "run"
    plan = {"rank": 1, "signals": (3, [signal.SIGKILL])}
    assert train_together(2, data, out, root, plan) == [FAILED, -signal.SIGKILL]
    assert re.fullmatch(LOST, Path(f"{out}.error").read_text())
    assert [step for step, _ in list_checkpoints(out / "checkpoints")] == [2]
    assert train_together(3, data, out, root) == [0] * 3
    assert furthest(weights(out), weights(straight(data))) < 1e-6


@pytest.mark.slow
def test_a_run_ends_when_a_process_hangs(root, tmp_path):
    out = tmp_path / "run"
    plan = {"rank": 1, "signals": (3, [signal.SIGSTOP]), "timeout": 5}
    first, stopped = start_together(2, config_data(), out, root, plan)
    first.join(90)
    stopped.kill()
    stopped.join(10)
    assert first.exitcode == FAILED
    assert re.fullmatch(LOST, Path(f"{out}.error").read_text())


def test_all_processes_report_a_loss_that_is_not_finite(root, tmp_path):
    """The process that has the bad example names it; the others do not wait for it."""
    out = tmp_path / "run"
    plan = {"rank": 1, "bad_loss": 1}
    assert train_together(2, config_data(), out, root, plan) == [FAILED, FAILED]
    assert "step 1: the loss is nan" in Path(f"{out}.error").read_text()


def test_only_lost_connections_are_reported_as_lost_processes():
    for group, error in [
        (ProcessGroup(0, 2), RuntimeError("out of memory")),
        (ProcessGroup(), RuntimeError("gloo: connection closed")),
    ]:
        with pytest.raises(RuntimeError, match=str(error)), report_lost_processes(group):
            raise error
    with (
        pytest.raises(TrainingError, match="process 1: another of the 2 processes"),
        report_lost_processes(ProcessGroup(1, 2)),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")


def test_unreachable_processes_are_reported(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("timed out connecting\nmore")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.init_process_group", refuse)
    with pytest.raises(TrainingError, match=r"cannot connect .* \(timed out connecting\)"):
        join_process_group()
