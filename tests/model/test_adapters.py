from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from freelm.config import LoraSettings
from freelm.data.packing import build_tree, collate
from freelm.errors import ModelError
from freelm.model.adapters import (
    ADAPTER_FILE,
    MARKERS_FILE,
    add_lora,
    load_adapter_weights,
    merge_adapter,
    save_adapter,
)
from freelm.model.markers import MarkerRows, add_markers
from freelm.model.network import FreeLMNetwork

SETTINGS = LoraSettings(rank=4, alpha=8.0)


def adapted(base: tuple[Any, Any]) -> FreeLMNetwork:
    """A network whose adapter and marker rows have been shaken, as training would."""
    model, tokenizer = base
    form = add_markers(model, tokenizer)
    rows = MarkerRows(model, tokenizer)
    network = FreeLMNetwork(add_lora(model, SETTINGS), form, rows).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network


def verdicts(network: FreeLMNetwork) -> torch.Tensor:
    form = network.form
    context = form.context(("The film is a delight.", "The dog sleeps."))
    claims = [form.claim(f"It is {word}.") for word in ("true", "false", "there", "a cat")]
    with torch.no_grad():
        return network.margins(collate([build_tree(context.ids, claims)], [[0]]))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "qwen3"])
def test_only_adapters_and_rows_are_trained_in_every_linear_layer(
    kind: str, tiny_base: Any
) -> None:
    network = adapted(tiny_base(kind))
    trained = [n for n, p in network.named_parameters() if p.requires_grad]
    assert all("lora_" in name or name.startswith("rows.") for name in trained)
    assert not any("embed" in name or "lm_head" in name or "wte" in name for name in trained)
    per_layer = 4 if kind == "gpt2" else 7
    assert sum("lora_A" in name for name in trained) == 2 * per_layer
    assert all(p.dtype == torch.float32 for p in network.parameters() if p.requires_grad)


def test_a_fresh_adapter_changes_nothing(tiny_base: Any) -> None:
    model, tokenizer = tiny_base("qwen2")
    form = add_markers(model, tokenizer)
    before = verdicts(FreeLMNetwork(model, form))
    rows = MarkerRows(model, tokenizer)
    after = verdicts(FreeLMNetwork(add_lora(model, SETTINGS), form, rows).eval())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_trained_weights_are_fp32_over_a_bf16_base(kind: str, tiny_base: Any) -> None:
    model, tokenizer = tiny_base(kind)
    network = adapted((model.bfloat16(), tokenizer))
    for parameter in network.parameters():
        expected = torch.float32 if parameter.requires_grad else torch.bfloat16
        assert parameter.dtype == expected


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_a_merged_adapter_judges_as_before(
    kind: str, tied: bool, tiny_base: Any, tmp_path: Path
) -> None:
    network = adapted(tiny_base(kind, tied))
    before = verdicts(network)
    assert isinstance(network.model, PeftModel)
    assert network.rows is not None
    save_adapter(network.model, network.rows, tmp_path)
    model, tokenizer = tiny_base(kind, tied)
    form = add_markers(model, tokenizer)
    plain = verdicts(FreeLMNetwork(model, form))
    merged = merge_adapter(model, tokenizer, tmp_path)
    assert not isinstance(merged, PeftModel)
    torch.testing.assert_close(verdicts(FreeLMNetwork(merged, form)), before, rtol=0, atol=1e-5)
    assert not torch.allclose(plain, before, atol=1e-2)


def test_an_adapter_folder_holds_no_matrix_of_the_base(tiny_base: Any, tmp_path: Path) -> None:
    network = adapted(tiny_base("llama", False))
    assert network.rows is not None
    save_adapter(network.model, network.rows, tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["adapter_config.json", ADAPTER_FILE, MARKERS_FILE]
    assert all("lora_" in name for name in load_file(tmp_path / ADAPTER_FILE))
    rows = load_file(tmp_path / MARKERS_FILE)
    assert {name: tuple(row.shape) for name, row in rows.items()} == {
        "rows.0": (4, 32),
        "rows.1": (4, 32),
    }


@pytest.mark.parametrize("damaged", [MARKERS_FILE, ADAPTER_FILE])
@pytest.mark.parametrize("how", ["missing", "short", "empty"])
def test_a_damaged_adapter_is_a_model_error(
    damaged: str, how: str, tiny_base: Any, tmp_path: Path
) -> None:
    network = adapted(tiny_base("llama"))
    assert network.rows is not None
    save_adapter(network.model, network.rows, tmp_path)
    path = tmp_path / damaged
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(content[: len(content) // 2] if how == "short" else b"")
    model, tokenizer = tiny_base("llama")
    add_markers(model, tokenizer)
    with pytest.raises(ModelError, match="adapter does not fit its base") as caught:
        merge_adapter(model, tokenizer, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [("gpt2", True), ("llama", False)])
def test_an_adapter_of_another_base_is_refused(
    other: tuple[str, bool], tiny_base: Any, tmp_path: Path
) -> None:
    network = adapted(tiny_base("llama", True))
    assert network.rows is not None
    save_adapter(network.model, network.rows, tmp_path)
    model, tokenizer = tiny_base(*other)
    add_markers(model, tokenizer)
    with pytest.raises(ModelError, match="adapter does not fit its base"):
        merge_adapter(model, tokenizer, tmp_path)


# -- going on from an adapter ---------------------------------------------------------------------


def fresh(base: tuple[Any, Any], settings: LoraSettings = SETTINGS) -> FreeLMNetwork:
    model, tokenizer = base
    form = add_markers(model, tokenizer)
    rows = MarkerRows(model, tokenizer)
    return FreeLMNetwork(add_lora(model, settings), form, rows).eval()


def stored(base: tuple[Any, Any], folder: Path) -> FreeLMNetwork:
    network = adapted(base)
    assert network.rows is not None
    save_adapter(network.model, network.rows, folder)
    return network


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_training_goes_on_where_an_adapter_stands(
    kind: str, tied: bool, tiny_base: Any, tmp_path: Path
) -> None:
    before = verdicts(stored(tiny_base(kind, tied), tmp_path))
    network = fresh(tiny_base(kind, tied))
    assert network.rows is not None
    assert not torch.allclose(verdicts(network), before, atol=1e-2)
    load_adapter_weights(network.model, network.rows, tmp_path)
    assert torch.equal(verdicts(network), before)
    trained = [p for p in network.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    assert len(trained) == len(
        [p for p in fresh(tiny_base(kind, tied)).parameters() if p.requires_grad]
    )


@pytest.mark.parametrize("change", [{"rank": 2}, {"alpha": 4}])
def test_an_adapter_of_another_shape_or_scale_is_refused(
    change: dict[str, int], tiny_base: Any, tmp_path: Path
) -> None:
    stored(tiny_base("llama"), tmp_path)
    network = fresh(tiny_base("llama"), SETTINGS.model_copy(update=change))
    assert network.rows is not None
    with pytest.raises(ModelError) as caught:
        load_adapter_weights(network.model, network.rows, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_model_is_refused(tiny_base: Any, tmp_path: Path) -> None:
    stored(tiny_base("gpt2"), tmp_path)
    network = fresh(tiny_base("llama"))
    assert network.rows is not None
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_adapter_weights(network.model, network.rows, tmp_path)


def test_users_get_no_advice_that_is_for_peft(
    tiny_base: Any, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    network = adapted(tiny_base("llama"))
    save_adapter(network.model, network.rows, tmp_path)
    model, tokenizer = tiny_base("llama")
    add_markers(model, tokenizer)
    merge_adapter(model, tokenizer, tmp_path)
    assert [str(warning.message) for warning in recwarn] == []
