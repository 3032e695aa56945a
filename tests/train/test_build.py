import pytest
import torch

import tiny
from freelm.config import ModelConfig
from freelm.data.packing import build_tree, collate
from freelm.errors import ModelError
from freelm.model.compute.precision import has_int8_units
from freelm.model.markers import marker_ids
from freelm.model.saving import ModelFacts, save_model
from freelm.train.build import build_network
from tiny_runs import make_config

TEXTS = list(tiny.SENTENCES) * 3


def build(seed=0, **model):
    return build_network(ModelConfig(**model), TEXTS, seed)


def test_from_scratch():
    network, base = build_network(make_config().model, TEXTS, 0)
    assert (base.name, base.checksum) == ("scratch", None)
    assert network.causal.config.hidden_size == 16
    assert network.causal.config.max_position_embeddings == 128
    assert len(network.tokenizer) == network.causal.get_input_embeddings().num_embeddings == 304
    assert all(p.requires_grad for p in network.parameters())
    assert network.rows is None


def test_random_weights_depend_on_the_seed_alone():
    config = make_config().model
    torch.manual_seed(123)
    one = build_network(config, TEXTS, 0)[0].state_dict()
    torch.manual_seed(321)
    same = build_network(config, TEXTS, 0)[0].state_dict()
    other = build_network(config, TEXTS, 1)[0].state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_base_trained_whole(tiny_folders, kind):
    network, base = build(base=str(tiny_folders(kind)))
    assert base.name == str(tiny_folders(kind))
    assert network.rows is None
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())
    assert min(marker_ids(network.tokenizer).values()) >= 400


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter(tiny_folders, kind, precision):
    """What is frozen is held in the compute type, what is trained in fp32."""
    network, _ = build(base=str(tiny_folders(kind)), lora={"rank": 2}, precision=precision)
    frozen_type = torch.bfloat16 if precision == "bf16" else torch.float32
    names = dict(network.named_parameters())
    trained = {name for name, p in names.items() if p.requires_grad}
    assert {p.dtype for name, p in names.items() if name in trained} == {torch.float32}
    assert {p.dtype for name, p in names.items() if name not in trained} == {frozen_type}
    assert all("lora_" in name or name.startswith("rows.") for name in trained)
    assert any(name.startswith("rows.") for name in trained)
    # All linear layers but the output embedding: 7 of a Llama layer, 4 of a GPT-2 layer.
    layers = {name.split(".lora_")[0] for name in trained if ".lora_" in name}
    assert len(layers) == 2 * (4 if kind == "gpt2" else 7)


@pytest.mark.skipif(not has_int8_units(torch.device("cpu")), reason="this CPU has no int8 units")
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_frozen_weights_are_rounded_for_training_alone(tiny_folders, kind):
    """What is measured with the model, and what is stored of it, is as without rounding."""
    settings = {"base": str(tiny_folders(kind)), "lora": {"rank": 2}}
    exact, _ = build(**settings)
    rounded, _ = build(**settings, precision="int8")
    assert rounded.state_dict().keys() >= {
        n for n, p in exact.named_parameters() if p.requires_grad
    }
    batch = collate([build_tree([5, 6, 7, 8, 9], [[3, 1], [3, 2], [4]])], [[0]])
    assert torch.equal(rounded.eval().margins(batch), exact.eval().margins(batch))
    for network in (rounded.train(), exact.train()):
        for layer in network.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
    found, near = rounded.margins(batch), exact.margins(batch)
    assert not torch.equal(found, near)
    torch.testing.assert_close(found, near, rtol=0, atol=0.3 * float(near.abs().max()))


def test_a_machine_without_int8_is_told_of(tiny_base_folder, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"int8 needs a CPU .*take another dtype or precision"):
        build(base=str(tiny_base_folder), lora={"rank": 2}, precision="int8")


def test_adapter_weights_depend_on_the_seed(tiny_base_folder):
    def matrices(seed):
        network, _ = build(seed, base=str(tiny_base_folder), lora={"rank": 2})
        return {n: p for n, p in network.named_parameters() if "lora_A" in n}

    one, same, other = matrices(0), matrices(0), matrices(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_full_bf16_training_has_fp32_weights(tiny_base_folder):
    network, _ = build(base=str(tiny_base_folder), precision="bf16")
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(("precision", "attention"), [("bf16", "eager"), ("fp32", "sdpa")])
def test_attention_is_plain_where_bf16_is_trained_on_a_cpu(
    tiny_base_folder, monkeypatch, precision, attention
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    network, _ = build(base=str(tiny_base_folder), precision=precision)
    assert network.causal.config._attn_implementation == attention


def test_an_unknown_base():
    with pytest.raises(ModelError, match=r"unknown base 'base/smollm'; .*base/smollm2-135m"):
        build(base="base/smollm")


# -- going on from a trained adapter --------------------------------------------------------------


def save_start(tiny_base_folder, folder, **changes):
    """A model with an adapter that has learned something; returns its trained weights."""
    network, base = build(base=str(tiny_base_folder), lora={"rank": 2})
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    facts = {
        "kind": "adapter",
        "base": base.name,
        "base_checksum": base.checksum,
        "markers": marker_ids(network.tokenizer),
    }
    save_model(network, folder, ModelFacts(**{**facts, **changes}))
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def test_a_run_goes_on_from_an_adapter(tiny_base_folder, tmp_path):
    start = save_start(tiny_base_folder, tmp_path)
    settings = {"rank": 2, "start": str(tmp_path)}
    network, _ = build(7, base=str(tiny_base_folder), lora=settings)
    own = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert own.keys() == start.keys()
    assert all(torch.equal(own[name], start[name]) for name in own)


def test_a_run_starts_from_a_release_by_its_name(tiny_base_folder, tmp_path, monkeypatch):
    start = save_start(tiny_base_folder, tmp_path / "toy")
    monkeypatch.setattr("freelm.model.releases.RELEASES", tmp_path)
    network, _ = build(7, base=str(tiny_base_folder), lora={"rank": 2, "start": "toy"})
    own = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert all(torch.equal(own[name], start[name]) for name in own)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"kind": "full"}, "has no adapter to start from"),
        ({"base_checksum": "0" * 64}, "was trained on .*, not on"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(tiny_base_folder, tmp_path, facts, message):
    save_start(tiny_base_folder, tmp_path, **facts)
    with pytest.raises(ModelError, match=message):
        build(base=str(tiny_base_folder), lora={"rank": 2, "start": str(tmp_path)})
