import errno
import json
import os
import shutil

import pytest
import torch
from torch import nn

from freelm.errors import CheckpointError
from freelm.io import atomic
from freelm.train import checkpoint as module
from freelm.train.checkpoint import (
    capture,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    prune_checkpoints,
    restore,
    save_checkpoint,
)

FILES = ("weights.safetensors", "moments.safetensors", "state.json", "checksums.json")


class Net(nn.Module):
    def __init__(self, seed=0, width=3):
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Linear(4, width)
        self.frozen = nn.Linear(4, width)
        self.frozen.requires_grad_(False)


def trained(steps=2, seed=0):
    net = Net(seed)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], fused=True)
    for step in range(steps):
        advance(net, optimizer, step)
    return net, optimizer


def advance(net, optimizer, step):
    torch.manual_seed(step)
    optimizer.zero_grad()
    net.inner(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()


def save(folder, step, **state):
    net, optimizer = trained(step)
    return save_checkpoint(folder, capture(net, optimizer, step, state))


def steps_of(folder):
    return [step for step, _ in list_checkpoints(folder)]


def test_a_restored_network_goes_on_as_if_nothing_had_happened(tmp_path):
    straight, _ = trained(5)
    save(tmp_path, 3, tokens=7)
    loaded = load_checkpoint(tmp_path / "step-0000003")
    assert (loaded.step, loaded.state) == (3, {"tokens": 7})
    other, fresh = trained(0, seed=9)
    restore(loaded, other, fresh)
    for step in (3, 4):
        advance(other, fresh, step)
    assert torch.equal(other.inner.weight, straight.inner.weight)
    assert torch.equal(other.inner.bias, straight.inner.bias)


def test_only_what_is_trained_is_stored(tmp_path):
    loaded = load_checkpoint(save(tmp_path, 1))
    assert sorted(loaded.weights) == ["inner.bias", "inner.weight"]
    assert sorted(loaded.moments) == [
        "exp_avg.inner.bias",
        "exp_avg.inner.weight",
        "exp_avg_sq.inner.bias",
        "exp_avg_sq.inner.weight",
    ]


def test_a_checkpoint_without_steps_has_no_moments(tmp_path):
    net, optimizer = trained(0)
    loaded = load_checkpoint(save_checkpoint(tmp_path, capture(net, optimizer, 0, {})))
    restore(loaded, *trained(0, seed=1))
    assert loaded.moments == {}


def test_restoring_does_not_tie_the_optimizer_to_the_loaded_tensors(tmp_path):
    loaded = load_checkpoint(save(tmp_path, 1))
    before = {name: value.clone() for name, value in loaded.moments.items()}
    net, optimizer = trained(0)
    restore(loaded, net, optimizer)
    advance(net, optimizer, 1)
    assert all(torch.equal(before[name], loaded.moments[name]) for name in before)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    loaded = load_checkpoint(save(tmp_path, 1))
    net = nn.Linear(4, 3)
    with pytest.raises(CheckpointError, match="another shape"):
        restore(loaded, net, torch.optim.AdamW(net.parameters()))


def test_there_is_no_pickle_in_a_checkpoint(tmp_path):
    assert sorted(p.name for p in save(tmp_path, 1).iterdir()) == sorted(FILES)


# -- damage --------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [flip, truncate, empty, lambda path: path.unlink()])
def test_a_damaged_checkpoint_is_passed_over_with_a_message(tmp_path, name, harm):
    for step in (2, 4):
        save(tmp_path, step)
    harm(tmp_path / "step-0000004" / name)
    lines = []
    loaded = load_latest(tmp_path, lines.append)
    assert loaded is not None
    assert loaded.step == 2
    assert len(lines) == 1
    assert "step-0000004" in lines[0]
    assert lines[0].endswith("trying the checkpoint before it")
    assert "\n" not in lines[0]


def test_any_flipped_byte_of_the_checksums_is_noticed_or_harmless(tmp_path):
    path = save(tmp_path, 1) / "checksums.json"
    good = path.read_bytes()
    noticed = 0
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 2]) + good[place + 1 :])
        try:
            assert load_checkpoint(path.parent).step == 1
        except CheckpointError:
            noticed += 1
    assert noticed > len(good) // 2


def test_no_whole_checkpoint_is_none(tmp_path):
    lines = []
    assert load_latest(tmp_path, lines.append) is None
    save(tmp_path, 1)
    flip(tmp_path / "step-0000001" / "weights.safetensors")
    assert load_latest(tmp_path, lines.append) is None
    assert len(lines) == 1


def test_a_half_written_checkpoint_is_not_listed(tmp_path):
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-0000001", tmp_path / ".writing-step-0000002")
    assert steps_of(tmp_path) == [1]


# -- trouble while writing -----------------------------------------------------------------------


def full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("function", ["save_file", "file_sha256", "fsync"])
@pytest.mark.parametrize("there", [True, False])
def test_disk_full(tmp_path, monkeypatch, function, there):
    if there:
        save(tmp_path, 1)
    monkeypatch.setattr(atomic if function == "fsync" else module, function, full)
    last = "the checkpoint of step 1 is intact" if there else "there is none before it"
    with pytest.raises(CheckpointError, match=rf"No space left on device.*; {last}$") as caught:
        save(tmp_path, 2)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["step-0000001"] if there else [])
    loaded = load_latest(tmp_path, print)
    assert (loaded.step if loaded else None) == (1 if there else None)


def test_a_disk_that_fills_up_in_the_middle_of_a_file(tmp_path, monkeypatch):
    save(tmp_path, 1)
    own = module.save_file

    def half(tensors, path):
        own(tensors, path)
        truncate(path)
        full()

    monkeypatch.setattr(module, "save_file", half)
    with pytest.raises(CheckpointError, match="step 1 is intact"):
        save(tmp_path, 2)
    assert load_latest(tmp_path, print).step == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save(tmp_path / "file", 1)


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    flip(save(tmp_path, 1) / "weights.safetensors")
    save(tmp_path, 1)
    assert load_latest(tmp_path, print).step == 1


def test_everything_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    events = []
    own_fsync, own_replace = atomic.fsync, os.replace
    monkeypatch.setattr(atomic, "fsync", lambda p: (events.append(p.name), own_fsync(p)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), own_replace(a, b)))
    save(tmp_path / "all", 1)
    renamed = events.index("rename")
    new, *files = sorted(events[:renamed])
    assert new.startswith(".writing-step-0000001-")
    assert files == sorted(FILES)
    assert events[renamed + 1 :] == ["all"]


# -- pruning -------------------------------------------------------------------------------------


@pytest.fixture
def five(tmp_path):
    for step in (1, 2, 3, 4, 5):
        (tmp_path / f"step-{step:07d}").mkdir()
    (tmp_path / ".writing-step-0000009").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("newest", "keep_last", "keep_step", "left"),
    [
        (5, 2, None, [4, 5]),
        (5, 1, None, [5]),
        (5, 1, 2, [2, 5]),
        (5, 2, 5, [4, 5]),
        (5, 9, None, [1, 2, 3, 4, 5]),
        # 4 and 5 were skipped as damaged; 3 has just been written again.
        (3, 1, None, [3]),
        (3, 2, 1, [1, 2, 3]),
    ],
)
def test_pruning(five, newest, keep_last, keep_step, left):
    prune_checkpoints(five, newest, keep_last, keep_step)
    assert steps_of(five) == left
    assert not list(five.glob(".writing-*"))


def test_state_is_json(tmp_path):
    path = save(tmp_path, 2, best_score=None, seconds=0.5)
    assert json.loads((path / "state.json").read_text()) == {
        "step": 2,
        "best_score": None,
        "seconds": 0.5,
    }
