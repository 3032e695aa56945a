import signal
import socket

import pytest
import torch
from torch import nn

import tiny_runs
from freelm.train.checkpoint import list_checkpoints
from freelm.train.distributed import ProcessGroup, join_process_group
from tiny_runs import (
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


def train_together(size, data, out, root, plan=None):
    port = free_port()
    processes = [
        tiny_runs.start(train_in_world, rank, size, port, data, out, root, plan)
        for rank in range(size)
    ]
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
    parameter = nn.Parameter(torch.ones(2))
    group.sum_gradients([parameter])
    assert parameter.grad is None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_whole_and_disjoint(size):
    groups = [ProcessGroup(rank, size) for rank in range(size)]
    shares = [list(group.share(range(5))) for group in groups]
    assert sorted(item for share in shares for item in share) == [0, 1, 2, 3, 4]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [group.is_main for group in groups] == [True] + [False] * (size - 1)


@pytest.mark.parametrize(
    ("size", "kind", "adapted"),
    [(2, "alternate", False), (2, "mixed", True), (4, "alternate", False)],
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
