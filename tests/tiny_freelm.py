"""Tiny saved FreeLMs and fixtures around them, for tests of whatever stands above the model."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from freelm.api import FreeLM
from freelm.miniworld import write_miniworld
from freelm.model.markers import add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import ModelFacts, save_model

SEEN = ("miniworld_entailment", "miniworld_topic")
"""What the record of a tiny FreeLM says that it was trained on."""


def tiny_network(seed: int = 0) -> FreeLMNetwork:
    """A Llama of two layers with markers and random weights."""
    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model("llama", len(tokenizer), seed=seed)
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


def save_freelm(
    folder: Path,
    temperature: float = 1.0,
    tasks: Sequence[str] = SEEN,
    target: str = "propositions",
) -> Path:
    """Save a tiny FreeLM, random weights, as training would."""
    network = tiny_network()
    taught = {name: {"family": "x", "version": 1, "rows": 1} for name in tasks}
    record = {"tasks": taught, "target": target}
    markers = marker_ids(network.tokenizer)
    facts = ModelFacts("full", None, None, markers, temperature, record=record)
    save_model(network, folder, facts)
    return folder


@pytest.fixture(scope="session")
def freelm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny FreeLM; shared, so never write into it."""
    return save_freelm(tmp_path_factory.mktemp("freelm") / "model")


@pytest.fixture(scope="session")
def model(freelm_folder: Path) -> FreeLM:
    """A loaded tiny FreeLM; shared, so never change it."""
    return FreeLM.from_pretrained(freelm_folder)


@pytest.fixture
def own_model() -> FreeLM:
    """A tiny FreeLM that a test may change."""
    from freelm.judge.engine import Judge
    from freelm.model.loading import LoadedModel

    network = tiny_network()
    facts = ModelFacts("full", None, None, marker_ids(network.tokenizer))
    loaded = LoadedModel(network, facts, "tiny")
    return FreeLM(loaded, Judge(loaded))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small miniworld; shared, so never write into it."""
    root = tmp_path_factory.mktemp("miniworld") / "root"
    write_miniworld(root, train_rows=40, evaluation_rows=12, num_documents=60)
    return root


@pytest.fixture
def miniworld_is_small(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whoever asks for the miniworld gets the small one."""
    monkeypatch.setattr("freelm.data.roots.miniworld_root", lambda: world)
    return world


@torch.no_grad()
def bias_towards(network: FreeLMNetwork, token: int) -> None:
    """Make a token by far the likeliest one everywhere."""
    head: Any = network.causal.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0])
    bias[token] = 1e4
    head.bias = torch.nn.Parameter(bias)


# -- the command line ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a command came to: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """Standard output, one JSON value per line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def refused(self, *words: str) -> None:
        """Assert that it failed with one clear line that holds some words."""
        assert self.code == 1, self
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("freelm: error: "), self.err
        for word in words:
            assert word in self.err, self.err


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("judge", ..., stdin=b"...")` runs a command in this process."""
    from freelm.cli.main import run

    def call(*arguments: object, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        found = capsys.readouterr()
        return Answer(int(ended.value.code or 0), found.out, found.err)

    return call


def run_program(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `freelm` as a process of its own."""
    command = [sys.executable, "-m", "freelm", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, **options)
