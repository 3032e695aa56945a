"""What every test gets: a cache of its own, no network, and tiny bases on request."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read by the Hub client when it is imported

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import offline

pytest_plugins = ["tiny_freelm"]


def pytest_configure() -> None:
    offline.install()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    offline.guard.open = item.get_closest_marker("network") is not None


@pytest.fixture(autouse=True)
def network_attempts() -> Iterator[list[str]]:
    """Hosts that the test tried to reach; the test fails if any is left, even when caught."""
    offline.guard.attempts.clear()
    yield offline.guard.attempts
    left = list(offline.guard.attempts)
    offline.guard.attempts.clear()
    assert not left, f"the test tried to reach {', '.join(left)}"


@pytest.fixture(autouse=True, scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache for the session, and nothing taken from the user's own settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FREELM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("FREELM_DATA", raising=False)
        patch.delenv("FREELM_MODEL", raising=False)
        yield


@pytest.fixture(autouse=True)
def the_same_number_type_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dtype="auto"` is fp32, however fast this machine computes bf16."""
    import torch

    monkeypatch.setattr("freelm.model.compute.precision.fastest_cpu_dtype", lambda: torch.float32)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test."""
    monkeypatch.setenv("FREELM_CACHE", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache"


@pytest.fixture
def tiny_tokenizer() -> Any:
    """A fresh byte-level BPE tokenizer without markers."""
    import tiny

    return tiny.make_tokenizer()


@pytest.fixture
def tiny_base() -> Callable[..., tuple[Any, Any]]:
    """`tiny_base(kind, tied=True, seed=0)` -> a fresh (model, tokenizer) without markers."""

    import tiny

    def make(kind: str, tied: bool = True, seed: int = 0) -> tuple[Any, Any]:
        tokenizer = tiny.make_tokenizer()
        return tiny.make_model(kind, len(tokenizer), tied, seed), tokenizer

    return make


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_folders(kind, tied=True)` -> a saved tiny base; shared, so never write into it."""
    import tiny

    made: dict[tuple[str, bool], Path] = {}

    def get(kind: str, tied: bool = True) -> Path:
        if (kind, tied) not in made:
            folder = tmp_path_factory.mktemp(f"base-{kind}-{'tied' if tied else 'untied'}")
            tokenizer = tiny.make_tokenizer()
            tiny.make_model(kind, len(tokenizer), tied).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[kind, tied] = folder
        return made[kind, tied]

    return get


@pytest.fixture(scope="session")
def tiny_base_folder(tiny_folders: Callable[..., Path]) -> Path:
    """A saved tiny Llama; shared by all tests, so never write into it."""
    return tiny_folders("llama")
