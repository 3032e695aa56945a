"""No way to load a model runs code that the model's folder brings along, whatever is answered."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import tiny_freelm
import tiny_runs
from freelm.api import FreeLM
from freelm.errors import ModelError

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"

MAPS = {
    CONFIG: {"AutoConfig": "payload.Payload", "AutoModelForCausalLM": "payload.Payload"},
    TOKENIZER: {"AutoTokenizer": ["payload.Payload", None]},
}


class Trap:
    """A model folder that writes a file when its code runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = folder / "code-has-run"
        (folder / "payload.py").write_text(
            f"open({str(self.mark)!r}, 'w').close()\nclass Payload:\n    pass\n"
        )

    def set(self, file: str, **keys: Any) -> None:
        data = json.loads((self.folder / file).read_text())
        (self.folder / file).write_text(json.dumps({**data, **keys}))


@pytest.fixture(params=["trained", "base"])
def trap(request: pytest.FixtureRequest, tmp_path: Path, tiny_base_folder: Path) -> Trap:
    folder = tmp_path / "model"
    if request.param == "trained":
        tiny_freelm.save_freelm(folder)
    else:
        shutil.copytree(tiny_base_folder, folder)
    return Trap(folder)


@pytest.fixture(autouse=True)
def says_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks on standard input whether to run code."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setattr("builtins.input", lambda *question: "y")


WAYS: dict[str, Callable[..., None]] = {
    "judge": lambda cli, trap, out: cli("judge", "-", "--claim", "Yes.", "--model", trap).refused(),
    "export": lambda cli, trap, out: cli("export", trap, "--out", out).refused(),
    "release": lambda cli, trap, out: cli(
        "export", trap, "--out", out, "--format", "release"
    ).refused(),
    "generate": lambda cli, trap, out: cli("generate", "A", "--model", trap).refused(),
}


@pytest.mark.parametrize("file", [CONFIG, TOKENIZER])
@pytest.mark.parametrize("unknown_type", [True, False])
def test_the_interface_refuses_a_folder_with_code(
    file: str, unknown_type: bool, trap: Trap
) -> None:
    trap.set(file, auto_map=MAPS[file])
    if unknown_type:
        trap.set(CONFIG, model_type="payload")
    with pytest.raises(ModelError, match=f"{file}: 'auto_map' names code"):
        FreeLM.from_pretrained(trap.folder)
    assert not trap.mark.exists()


@pytest.mark.parametrize("file", [CONFIG, TOKENIZER])
@pytest.mark.parametrize("way", WAYS)
def test_commands_refuse_a_folder_with_code(
    file: str, way: str, trap: Trap, tmp_path: Path, cli: tiny_freelm.Cli
) -> None:
    trap.set(file, auto_map=MAPS[file])
    WAYS[way](lambda *a: cli(*a, stdin=b"y\n" * 9), trap.folder, tmp_path / "out")
    assert not trap.mark.exists()


@pytest.mark.parametrize("file", [CONFIG, TOKENIZER])
def test_training_refuses_a_base_with_code(
    file: str, trap: Trap, tmp_path: Path, cli: tiny_freelm.Cli
) -> None:
    trap.set(file, auto_map=MAPS[file])
    root = tiny_runs.write_root(tmp_path / "data")
    data = tiny_runs.config_data(model={"base": str(trap.folder)})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
    options = ("--data", root, "--out", tmp_path / "run")
    answer = cli("train", tmp_path / "run.yaml", *options, stdin=b"y\n")
    answer.refused("'auto_map' names code")
    assert not trap.mark.exists()


def test_without_our_check_transformers_still_runs_nothing(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freelm.model.bases.check_folder", lambda folder: None)
    for file, keys in MAPS.items():
        trap.set(file, auto_map=keys)
    trap.set(CONFIG, model_type="payload")
    with pytest.raises(ModelError):
        FreeLM.from_pretrained(trap.folder)
    assert not trap.mark.exists()


@pytest.mark.parametrize(
    "keys",
    [
        {"attn_implementation": "somebody/kernel"},
        {"nested": [{"auto_map": {"AutoConfig": "payload.Payload"}}]},
    ],
)
def test_other_keys_that_fetch_code_are_refused(keys: dict[str, Any], trap: Trap) -> None:
    trap.set(CONFIG, **keys)
    with pytest.raises(ModelError, match="names code to load"):
        FreeLM.from_pretrained(trap.folder)


def test_weights_that_are_no_numbers_are_refused(trap: Trap) -> None:
    weights = load_file(trap.folder / "model.safetensors")
    name = next(name for name in weights if "up_proj" in name)
    for value in (float("nan"), float("inf"), -float("inf")):
        weights[name][0, 0] = value
        save_file(weights, trap.folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=rf"{name} holds NaN or infinite weights"):
            FreeLM.from_pretrained(trap.folder)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; it must be from 1 to 512"),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"hidden_size": 8192, "num_hidden_layers": 200}, "but the weights in the folder are"),
        ({"vocab_size": 2**21}, "but the weights in the folder are"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(
    keys: dict[str, Any], said: str, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap.set(CONFIG, **keys)
    monkeypatch.setattr(torch, "empty", pytest.fail)
    monkeypatch.setattr("freelm.model.bases.AutoModelForCausalLM", None)
    with pytest.raises(ModelError, match=said):
        FreeLM.from_pretrained(trap.folder)
