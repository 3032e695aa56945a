"""Checkpoints: folders of safetensors and JSON that are written atomically.

It is written to a temporary folder, flushed to disk and renamed, so that a process killed at
any moment leaves the one before intact. Every file's checksum is stored; a damaged checkpoint is
skipped in favour of the one before it.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from freelm.errors import CheckpointError
from freelm.io.atomic import TEMPORARY, atomic_folder
from freelm.io.checksum import file_sha256

PREFIX = "step-"
_NAME = re.compile(rf"{PREFIX}(\d{{7,}})")
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        step: Optimizer steps done.
        weights: Trained parameter -> value.
        moments: `exp_avg.<parameter>` and `exp_avg_sq.<parameter>` -> value.
        state: The rest, as JSON (tokens seen, seconds, best score ...).
    """

    step: int
    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    state: dict[str, Any]


def capture(
    network: nn.Module, optimizer: torch.optim.Optimizer, step: int, state: dict[str, Any]
) -> Checkpoint:
    """The checkpoint of a network and its optimizer as they are now."""
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    moments = {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in trained.items()
        for moment in _MOMENTS
        if parameter in optimizer.state
    }
    return Checkpoint(step, {n: p.detach() for n, p in trained.items()}, moments, state)


@torch.no_grad()
def restore(checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load a checkpoint into a network and its optimizer.

    Raises:
        CheckpointError: If the checkpoint belongs to another network.
    """
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if trained.keys() != checkpoint.weights.keys():
        raise CheckpointError("the checkpoint belongs to a model of another shape")
    for name, parameter in trained.items():
        parameter.copy_(checkpoint.weights[name])
        if f"exp_avg.{name}" in checkpoint.moments:
            state = {moment: checkpoint.moments[f"{moment}.{name}"].clone() for moment in _MOMENTS}
            state["step"] = torch.tensor(float(checkpoint.step))
            optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in state.items()}


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder of a step's checkpoint."""
    return folder / f"{PREFIX}{step:07d}"


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below a folder.

    Raises:
        CheckpointError: If it cannot be written; what was there before is intact.
    """
    place = checkpoint_path(folder, checkpoint.step)
    try:
        with atomic_folder(place) as new:
            for name in ("weights", "moments"):
                tensors = {k: v.contiguous() for k, v in getattr(checkpoint, name).items()}
                save_file(tensors, new / f"{name}.safetensors")
            facts = {"step": checkpoint.step, **checkpoint.state}
            (new / "state.json").write_text(json.dumps(facts, indent=1))
            sums = {path.name: file_sha256(path) for path in sorted(new.iterdir())}
            (new / "checksums.json").write_text(json.dumps(sums, indent=1))
    except Exception as error:  # safetensors has its own exception for a full disk
        kept = [step for step, _ in list_checkpoints(folder)]
        last = f"the checkpoint of step {kept[-1]} is intact" if kept else "there is none before it"
        raise CheckpointError(f"{place}: cannot be written ({error}); {last}") from None
    return place


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of the finished checkpoints, oldest first; other folders are ignored."""
    named = [(_NAME.fullmatch(path.name), path) for path in folder.glob(f"{PREFIX}*")]
    return sorted((int(match[1]), path) for match, path in named if match and path.is_dir())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify its checksums.

    Raises:
        CheckpointError: If a file is missing or damaged.
    """
    try:
        sums = json.loads((path / "checksums.json").read_text())
        for name, expected in sums.items():
            if file_sha256(path / name) != expected:
                raise CheckpointError(f"{path / name}: is damaged (checksum differs)")
        state = json.loads((path / "state.json").read_text())
        weights = load_file(path / "weights.safetensors")
        moments = load_file(path / "moments.safetensors")
        return Checkpoint(state.pop("step"), weights, moments, state)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None


def load_latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest intact checkpoint, or None.

    Args:
        folder: Folder of checkpoints.
        say: Receives a line for each damaged checkpoint that is skipped.
    """
    for _, path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            say(f"{error}; trying the checkpoint before it")
    return None


def prune_checkpoints(
    folder: Path, newest: int, keep_last: int, keep_step: int | None = None
) -> None:
    """Remove all checkpoints but the newest ones and the best one.

    Args:
        folder: Folder of checkpoints.
        newest: Step of the checkpoint just written; later ones are damaged or abandoned.
        keep_last: Number of newest checkpoints to keep.
        keep_step: Step of a checkpoint to keep whatever its age.
    """
    listed = list_checkpoints(folder)
    kept = {step for step, _ in listed if step <= newest}
    last = sorted(kept)[-keep_last:]
    for step, path in listed:
        if step not in last and step != keep_step:
            shutil.rmtree(path, ignore_errors=True)
    for rest in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(rest, ignore_errors=True)
