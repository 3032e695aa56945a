from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_compare
from freelm.compare.outcomes import compare_arms

ARMS = [
    {"name": "alternate", "kind": "alternate"},
    {"name": "language_only", "kind": "language_only"},
    {"name": "mixed-50", "kind": "mixed", "language_share": 0.5},
    {"name": "label_words", "kind": "label_words"},
    {"name": "per_task", "kind": "per_task"},
    {"name": "in_context-0", "kind": "in_context", "shots": 0},
    {"name": "in_context-9", "kind": "in_context", "shots": 9},
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def without_plots() -> Iterator[None]:
    """Drawing its losses takes a tiny run longer than training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freelm.train.run.plot_losses", lambda records, path: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def no_loss_plots() -> Iterator[None]:
    with without_plots():
        yield


@pytest.fixture(scope="session")
def compared(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished comparison: its study, results and what was said; never write into its folder."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("compared")
    study = tiny_compare.make_study(out, world, say=said.append, arms=ARMS)
    with without_plots():
        return {"study": study, "results": compare_arms(study), "said": said}
