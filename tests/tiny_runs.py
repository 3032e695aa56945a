"""Tiny runs: a data root of invented rows, a configuration of a second, processes to be killed."""

import json
import math
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from freelm.config import RunConfig, parse_config
from freelm.io import atomic
from freelm.train import checkpoint as checkpoints
from freelm.train import distributed
from freelm.train.run import Interrupted, train
from freelm.train.trainer import Trainer
from freelm.train.validation import Validation

INTERRUPTED, STOPPED, FAILED = 75, 76, 77


class Crash(Exception):
    """Stands for whatever ends a process between two steps."""


_WORDS = ["cat", "dog", "house", "river", "green", "sleeps", "runs", "over", "the", "not", "hill"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(3, 9))).capitalize() + "."


def write_root(root: Path, rows: int = 60) -> Path:
    """A data root: rte (reported on validation), snli (on test), stsb (graded) and a corpus."""
    rng = random.Random(0)
    columns = {
        "rte": ("sentence1", "sentence2"),
        "snli": ("premise", "hypothesis"),
        "stsb": ("sentence1", "sentence2"),
    }
    for task, names in columns.items():
        for split in ("train", "validation", "test"):
            if task == "rte" and split == "test":
                continue
            made: list[dict[str, Any]] = []
            for i in range(rows if split == "train" else rows // 2):
                texts = {name: f"{split} {i} {sentence(rng)}" for name in names}
                label = {"rte": i % 2, "snli": i % 3, "stsb": round(5 * rng.random(), 2)}[task]
                made.append({**texts, "label": label})
            write_rows(root / "teacher" / task / f"{split}.parquet", made)
    texts = [{"text": " ".join(sentence(rng) for _ in range(4))} for _ in range(60)]
    write_rows(root / "language" / "tiny" / "train.parquet", texts)
    overlap = {"train_file": "teacher/rte/train.parquet", "train_row_numbers": [3, 4, 50]}
    (root / "overlaps.json").write_text(json.dumps({"overlaps": [overlap]}))
    return root


BASIC: dict[str, Any] = {
    "name": "tiny",
    "seed": 0,
    "model": {
        "scratch": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_layers": 1,
            "num_heads": 2,
            "vocab_size": 300,
            "max_positions": 128,
        }
    },
    "language": {"corpora": {"tiny": 1.0}, "block_length": 16, "blocks_per_step": 3},
    "teacher": {
        "tasks": ["rte", "snli", "stsb"],
        "examples_per_step": 5,
        "max_context_tokens": 32,
        "validation_rows": 8,
        "opposite_rate": 0.2,
        "listwise_weight": 0.5,
    },
    "interaction": {"kind": "alternate", "language_steps": 2, "teacher_steps": 3},
    "optimizer": {"learning_rate": 0.01, "warmup_steps": 2},
    "train": {"num_steps": 12, "tokens_per_batch": 256, "row_length": 64, "checkpoint_every": 4},
}


def config_data(**changes: Any) -> dict[str, Any]:
    """The basic configuration with dotted keys (`train__num_steps=3`) replaced."""
    data: dict[str, Any] = json.loads(json.dumps(BASIC))
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return data


def make_config(**changes: Any) -> RunConfig:
    return parse_config(config_data(**changes), "test")


INTERACTIONS: dict[str, dict[str, Any]] = {
    "alternate": {},
    "mixed": {"interaction": {"kind": "mixed"}},
    "sequential": {"interaction": {"kind": "sequential", "language_steps": 5}},
}


def lora(folder: Path, **settings: Any) -> dict[str, Any]:
    """The model section of an adapter on a base folder."""
    return {"model": {"base": str(folder), "lora": {"rank": 2, "alpha": 4, **settings}}}


def weights(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of a run's finished model."""
    found = {}
    for path in sorted((run / "model").glob("*.safetensors")):
        found.update({f"{path.stem}/{name}": value for name, value in load_file(path).items()})
    assert found
    return found


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of the metrics without the times, which differ from run to run."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def facts(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "model" / "freelm.json").read_text())
    return found


def same_run(one: Path, other: Path) -> None:
    """Assert that two finished runs are the same in all but time."""
    assert metrics(one) == metrics(other)
    assert same_weights(weights(one), weights(other))
    assert facts(one)["temperature"] == facts(other)["temperature"]
    tokens = ("language_tokens", "teacher_tokens", "steps", "tasks")
    for key in tokens:
        assert facts(one)["record"][key] == facts(other)["record"][key]


# -- processes -----------------------------------------------------------------------------------

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "freelm.train.run",
        "freelm.api",
        "freelm.files.run",
        "freelm.cli.main",
        "matplotlib.pyplot",
        "torch.distributed",
    ]
)  # names that are found without this folder; one that is not is silently ignored


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a process that runs a function of this module."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def run_to_end(target: Callable[..., None], *arguments: Any) -> int:
    """Exit code of a process; a negative one is the signal that ended it."""
    process = start(target, *arguments)
    process.join(120)
    assert process.exitcode is not None, "the process did not end"
    return int(process.exitcode)


def train_in_child(
    data: dict[str, Any], out: Path, root: Path, plan: dict[str, Any] | None = None
) -> None:
    """Train, with accidents.

    Plan: `kill_at` n: SIGKILL before the n-th disk operation of a checkpoint; `signals` (step,
    [signal, ...]): sent to itself during that step; `pause`: seconds of sleep in each step;
    `bad_loss` n: the losses of step n are NaN.
    """
    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    plan = plan or {}
    if "kill_at" in plan:
        _die_in_save(plan["kill_at"])
    _disturb_steps(plan)
    try:
        train(parse_config(data, "test"), out, root, say=lambda line: None)
    except Interrupted:
        os._exit(INTERRUPTED)
    except KeyboardInterrupt:
        os._exit(STOPPED)
    except Exception as error:
        Path(f"{out}.error").write_text(f"{type(error).__name__}: {error}")
        os._exit(FAILED)


def _die_in_save(number: int) -> None:
    """Kill this process before its n-th disk operation inside `save_checkpoint`."""
    seen = [0]

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen[0] += 1
            if seen[0] == number:
                if function is original_save:  # a file that is half written
                    original_save(*args, **kwargs)
                    os.truncate(args[1], args[1].stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    original_save = checkpoints.save_file
    checkpoints.save_file = deadly(original_save)
    atomic.fsync = deadly(atomic.fsync)

    class DeadlyOs:
        replace = staticmethod(deadly(os.replace))

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

    class DeadlyShutil:
        import shutil

        rmtree = staticmethod(deadly(shutil.rmtree))

    atomic.os, atomic.shutil = DeadlyOs(), DeadlyShutil()


def _disturb_steps(plan: dict[str, Any]) -> None:
    import time

    own = Trainer.step

    def step(self: Trainer, number: int) -> dict[str, Any]:
        time.sleep(plan.get("pause", 0))
        if plan.get("signals", (None,))[0] == number:
            for signal_number in plan["signals"][1]:
                os.kill(os.getpid(), signal_number)
        if plan.get("bad_loss") == number:
            for name in ("margins", "language_loss"):
                right = getattr(self.network, name)
                setattr(self.network, name, lambda batch, right=right: right(batch) * math.nan)
        return own(self, number)

    Trainer.step = step


def train_in_world(
    rank: int, size: int, port: int, data: dict[str, Any], out: Path, root: Path, plan: Any = None
) -> None:
    """One of several processes that train together, as `torchrun` would start it."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        GLOO_SOCKET_IFNAME="lo",
    )
    if plan and "scores" in plan:
        scores = iter(plan["scores"][rank])
        Validation.mean_accuracy = property(lambda self: next(scores))
    if plan and "timeout" in plan:
        distributed.TIMEOUT = timedelta(seconds=plan["timeout"])
    own = plan if plan and rank == plan.get("rank", 0) else None
    train_in_child(data, out, root, own)
