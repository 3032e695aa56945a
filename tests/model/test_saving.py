import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import freelm.model.saving as saving_module
from freelm.config import LoraSettings
from freelm.data.packing import build_tree, collate
from freelm.data.prompts import PROMPTS
from freelm.errors import ModelError
from freelm.model.adapters import MARKERS_FILE, add_lora
from freelm.model.bases import load_base
from freelm.model.loading import load_model
from freelm.model.markers import MarkerRows, add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import FACTS_FILE, ModelFacts, read_facts, save_model
from freelm.tasks import Proposition
from tiny import KINDS

CONTEXT = ("The film is a delight.", "The dog sleeps.")
CLAIMS = tuple(f"It is {word}." for word in ("true", "false", "there", "a cat"))


def verdicts(network: FreeLMNetwork) -> torch.Tensor:
    form = network.form
    context, claims = form.context(CONTEXT), [form.claim(claim) for claim in CLAIMS]
    with torch.no_grad():
        return network.margins(collate([build_tree(context.ids, claims)], [[0]]))


def make_network(base_folder: Path, lora: bool) -> FreeLMNetwork:
    """A network whose trainable weights have been shaken, as training would."""
    base = load_base(str(base_folder))
    form = add_markers(base.model, base.tokenizer)
    if lora:
        rows = MarkerRows(base.model, base.tokenizer)
        settings = LoraSettings(rank=4, alpha=8.0)
        network = FreeLMNetwork(add_lora(base.model, settings), form, rows)
    else:
        network = FreeLMNetwork(base.model, form)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval()


def facts_of(network: FreeLMNetwork, base_folder: Path, **changes: Any) -> ModelFacts:
    known = {
        "kind": "full" if network.rows is None else "adapter",
        "base": str(base_folder),
        "base_checksum": None,
        "markers": marker_ids(network.tokenizer),
        "temperature": 1.25,
        "record": {"tasks": ["sst2"], "seed": 3},
    }
    return ModelFacts(**{**known, **changes})


@pytest.fixture
def saved(tmp_path: Path, tiny_base_folder: Path) -> Callable[..., Path]:
    """`saved(lora, **facts)` -> the folder of a saved model on the tiny Llama."""

    def save(lora: bool, **changes: Any) -> Path:
        network = make_network(tiny_base_folder, lora)
        save_model(network, tmp_path / "model", facts_of(network, tiny_base_folder, **changes))
        return tmp_path / "model"

    return save


# -- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_judges_as_the_saved_one_did(
    kind: str, tied: bool, lora: bool, tiny_folders: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_folders(kind, tied)
    network = make_network(folder, lora)
    before, untrained = verdicts(network), load_base(str(folder))
    facts = facts_of(network, folder)
    save_model(network, tmp_path / "model", facts)
    loaded = load_model(str(tmp_path / "model"))
    assert loaded.facts == facts
    assert loaded.name == str(tmp_path / "model")
    assert loaded.network.rows is None
    assert not loaded.network.training
    torch.testing.assert_close(verdicts(loaded.network), before, rtol=0, atol=1e-5)
    plain = FreeLMNetwork(untrained.model, add_markers(untrained.model, untrained.tokenizer))
    assert not torch.allclose(verdicts(plain), before, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_model_is_a_stock_folder(
    kind: str, tiny_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """A stock tokenizer and model read the written proposition and give the same verdict."""
    network = make_network(tiny_folders(kind), lora=False)
    before = verdicts(network)
    save_model(network, tmp_path, facts_of(network, tiny_folders(kind)))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = marker_ids(tokenizer)
    for claim, margin in zip(CLAIMS, before, strict=True):
        text = Proposition(CONTEXT, claim).text
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            logits = model(input_ids=inputs["input_ids"]).logits[0, -1]
        found = logits[ids["<|true|>"]] - logits[ids["<|false|>"]]
        torch.testing.assert_close(found, margin, rtol=0, atol=1e-5)


def test_nothing_but_safetensors_json_and_text_is_written(saved: Callable[..., Path]) -> None:
    for lora in (True, False):
        folder = saved(lora)
        kinds = {path.suffix for path in folder.iterdir()}
        assert kinds <= {".safetensors", ".json", ".txt", ".jinja"}


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_weights_are_as_readable_as_other_files(lora: bool, saved: Callable[..., Path]) -> None:
    folder = saved(lora)
    facts = (folder / FACTS_FILE).stat().st_mode
    weights = list(folder.glob("*.safetensors"))
    assert weights
    assert {path.stat().st_mode for path in weights} == {facts}


def test_an_adapter_is_loaded_in_the_type_asked_for(saved: Callable[..., Path]) -> None:
    loaded = load_model(str(saved(True)), dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.network.parameters()} == {torch.bfloat16}


def test_a_base_is_judged_by_a_prompt(tiny_base_folder: Path) -> None:
    loaded = load_model(str(tiny_base_folder))
    assert loaded.facts.kind == "base"
    assert loaded.facts.temperature == 1.0
    assert loaded.facts.record == {}
    first, *others = (
        verdicts(load_model(str(tiny_base_folder), prompt=name).network) for name in PROMPTS
    )
    assert torch.equal(verdicts(loaded.network), first)
    assert not any(torch.allclose(first, other) for other in others)
    with pytest.raises(ModelError, match="unknown prompt"):
        load_model(str(tiny_base_folder), prompt="nonsense")


# -- freelm.json ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_facts_are_written_last(
    lora: bool, tiny_base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network(tiny_base_folder, lora)
    facts = facts_of(network, tiny_base_folder)
    save_model(network, tmp_path, facts)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(saving_module, "save_adapter", fail)
        patch.setattr(type(network.model), "save_pretrained", fail)
        with pytest.raises(OSError, match="disk full"):
            save_model(network, tmp_path, facts)
    assert not (tmp_path / FACTS_FILE).exists()  # old facts do not vouch for half a model
    save_model(network, tmp_path, facts)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert max(times.values()) == times[FACTS_FILE]
    assert json.loads((tmp_path / FACTS_FILE).read_text()) == asdict(facts)
    assert read_facts(tmp_path) == facts


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"kind": "full"}', '"full"', "null"])
def test_damaged_facts_are_named(saved: Callable[..., Path], content: str) -> None:
    folder = saved(False)
    (folder / FACTS_FILE).write_text(content)
    with pytest.raises(ModelError, match=r"freelm\.json: cannot be read"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0}, "temperature: "),
        ({"temperature": -1.0}, "temperature: "),
        ({"temperature": float("nan")}, "temperature: "),
        ({"temperature": float("inf")}, "temperature: "),
        ({"temperature": "warm"}, "temperature: "),
        ({"choice_temperature": {"two": 0, "many": 1}}, "choice_temperature.two: "),
        ({"kind": "pickle"}, "kind: "),
        ({"markers": {"[sep]": -1}}, r"markers.\[sep\]: "),
        ({"markers": ["[sep]"]}, "markers: "),
        ({"max_context_tokens": 0}, "max_context_tokens: "),
        ({"record": []}, "record: "),
        ({"unheard_of": 1}, "unheard_of: unknown key"),
    ],
)
def test_facts_out_of_range_are_refused_by_field(
    changes: dict[str, Any], said: str, saved: Callable[..., Path]
) -> None:
    folder = saved(False)
    facts = json.loads((folder / FACTS_FILE).read_text())
    (folder / FACTS_FILE).write_text(json.dumps({**facts, **changes}))
    with pytest.raises(ModelError, match=rf"freelm\.json: cannot be read \({said}"):
        load_model(str(folder))


def test_facts_that_are_no_ordinary_file_are_refused(saved: Callable[..., Path]) -> None:
    folder = saved(False)
    (folder / FACTS_FILE).unlink()
    os.mkfifo(folder / FACTS_FILE)
    with pytest.raises(ModelError, match="not a regular file"):
        read_facts(folder)


def test_facts_that_are_too_large_are_refused(saved: Callable[..., Path]) -> None:
    folder = saved(False)
    with (folder / FACTS_FILE).open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(ModelError, match="17,179,869,184 bytes, at most 16,777,216"):
        load_model(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    saved: Callable[..., Path],
) -> None:
    folder = saved(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"extra{i}" for i in range(2000)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"its tokenizer has .* tokens, its model"):
        load_model(str(folder))


@pytest.mark.parametrize("extra", [{}, {"unheard_of": 1}])
def test_a_newer_format_is_refused_by_name(
    saved: Callable[..., Path], extra: dict[str, int]
) -> None:
    folder = saved(False)
    facts = json.loads((folder / FACTS_FILE).read_text())
    (folder / FACTS_FILE).write_text(json.dumps({**facts, **extra, "format": 2}))
    with pytest.raises(ModelError, match="is of format 2, this program reads 1") as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_other_markers_than_the_tokenizers_are_refused(
    saved: Callable[..., Path], lora: bool
) -> None:
    folder = saved(lora, markers={"[sep]": 1, "[cls]": 2, "<|false|>": 3, "<|true|>": 4})
    with pytest.raises(ModelError, match="its markers are") as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)


# -- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lora", "name"),
    [
        (False, "model.safetensors"),
        (False, "config.json"),
        (False, "tokenizer.json"),
        (True, "adapter_model.safetensors"),
        (True, "adapter_config.json"),
        (True, MARKERS_FILE),
    ],
)
@pytest.mark.parametrize("how", ["missing", "short", "empty"])
def test_a_damaged_file_is_a_model_error_that_names_the_folder(
    saved: Callable[..., Path], lora: bool, name: str, how: str
) -> None:
    folder = saved(lora)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if how != "missing":
        (folder / name).write_bytes(content[: len(content) // 2] if how == "short" else b"")
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_file_of_another_width_is_refused(
    saved: Callable[..., Path], tiny_folders: Callable[..., Path]
) -> None:
    folder = saved(False)
    shutil.copy(tiny_folders("qwen3") / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)


def test_an_adapter_whose_base_is_gone_names_it(saved: Callable[..., Path]) -> None:
    folder = saved(True, base="no/such-base")
    with pytest.raises(ModelError, match="no/such-base"):
        load_model(str(folder))
    folder = saved(True, base=None)
    with pytest.raises(ModelError, match="names no base for its adapter"):
        load_model(str(folder))


def test_an_adapter_of_another_file_of_its_base_is_refused(saved: Callable[..., Path]) -> None:
    folder = saved(True, base_checksum="0123456789abcdef")
    with pytest.raises(ModelError, match=r"was trained on another file of .*0123456789ab"):
        load_model(str(folder))


def test_a_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a model folder"):
        load_model(str(tmp_path))
