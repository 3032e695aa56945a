"""Fixtures of the training tests: one data root, and each straight run once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from freelm.train.run import train
from freelm.train.trainer import Trainer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are faster on one thread, and sums do not depend on how they are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that all tests share; never write into it."""
    return tiny_runs.write_root(tmp_path_factory.mktemp("data-root"))


@pytest.fixture(scope="session")
def straight(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], Path]:
    """`straight(data)` -> folder of an uninterrupted run; each is done once."""
    done: dict[str, Path] = {}

    def get(data: dict[str, Any]) -> Path:
        key = json.dumps(data, sort_keys=True)
        if key not in done:
            out = tmp_path_factory.mktemp("straight")
            train(tiny_runs.parse_config(data, "test"), out, root, say=lambda line: None)
            done[key] = out
        return done[key]

    return get


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """`run(data, out=..., data_root=...)` trains in this process and returns the lines said."""

    def go(data: dict[str, Any], out: Path | None = None, data_root: Path = root) -> list[str]:
        lines: list[str] = []
        config = tiny_runs.parse_config(data, "test")
        train(config, out or tmp_path / "run", data_root, say=lines.append)
        return lines

    return go


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """`crash_at(step)` makes the next runs end before that step; None heals them."""
    own = Trainer.step

    def plan(crash: int | None) -> None:
        def step(self: Trainer, number: int) -> dict[str, Any]:
            if number == crash:
                raise tiny_runs.Crash
            return own(self, number)

        monkeypatch.setattr(Trainer, "step", step)

    return plan
