import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from freelm.bench import subjects, train
from freelm.bench.train import TrainBench, run_train_bench
from freelm.model.bases import Base
from freelm.model.compute.device import find_device
from freelm.model.compute.int8 import FrozenInt8Linear


@pytest.fixture
def tiny_backbone(monkeypatch, miniworld_is_small):
    def backbone(dtype, shape):
        tokenizer = tiny.make_tokenizer()
        kind = "gpt2" if shape.startswith("gpt2") else "llama"
        return Base(tiny.make_model(kind, len(tokenizer)).to(dtype), tokenizer, "x", None)

    monkeypatch.setattr(train, "backbone", backbone)
    monkeypatch.setattr(train, "miniworld_root", lambda: miniworld_is_small)
    monkeypatch.setattr(train, "matmul_flops", lambda dtype, device: 1e9)


def test_rows_hold_medians_of_both_signals(monkeypatch):
    asked = []

    def measure(worker, spec, device):
        assert device == "cuda:1"
        asked.append((spec["signal"], spec["system"]))
        keys = ("propositions_per_s", "tokens_per_s", "flops_fraction", "peak_mb")
        return dict.fromkeys(keys, float(len(asked)))

    monkeypatch.setattr(train, "measure_in_process", measure)
    rows = list(run_train_bench(TrainBench(repeats=3, device="cuda:1")))
    assert list(rows[0]) == [
        "system", "signal", "propositions_per_s", "tokens_per_s", "flops_fraction", "peak_mb"
    ]  # fmt: skip
    assert asked[:6] == [("teacher", "freelm"), ("teacher", "plain")] * 3
    assert [(row["signal"], row["system"], row["tokens_per_s"]) for row in rows] == [
        ("teacher", "freelm", 3.0),
        ("teacher", "plain", 4.0),
        ("language", "freelm", 9.0),
        ("language", "plain", 10.0),
    ]


@pytest.mark.parametrize("signal", ["teacher", "language"])
@pytest.mark.parametrize("system", ["freelm", "plain"])
@pytest.mark.parametrize(
    ("shape", "all_weights"),
    [("smollm2-135m", False), ("gpt2-medium", False), ("gpt2-medium", True)],
)
def test_steps_of_both_systems_are_measured(tiny_backbone, system, signal, shape, all_weights):
    spec = {
        "system": system, "signal": signal, "precision": "fp32", "examples": 4, "tokens": 2048,
        "steps": 2, "device": find_device(None).type, "shape": shape, "all_weights": all_weights,
    }  # fmt: skip
    result = train.measure(spec)
    assert result["tokens_per_s"] > 0
    assert result["flops_fraction"] > 0
    assert (result["propositions_per_s"] > 0) == (signal == "teacher")


@pytest.mark.parametrize("system", ["freelm", "freelm-compiled", "freelm-int8"])
def test_what_a_system_stands_for(tiny_backbone, system):
    spec = {
        "system": system, "signal": "teacher", "precision": "fp32", "examples": 4, "tokens": 2048,
        "all_weights": False,
    }  # fmt: skip
    config = train.run_config(spec)
    trainer = train.make_trainer(config, "smollm2-135m")
    rounded = [m for m in trainer.network.modules() if isinstance(m, FrozenInt8Linear)]
    assert config.train.compile == (system != "freelm")
    assert len(rounded) == (14 if system == "freelm-int8" else 0)  # 7 in each of two layers
    trainer.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_on_a_gpu_are_measured(precision):
    rows = list(run_train_bench(TrainBench(precision=precision, steps=2, repeats=1, device="cuda")))
    assert len(rows) == 4
    for row in rows:
        assert row["tokens_per_s"] > 0
        assert 0 < row["flops_fraction"] < 1
        assert 250 < row["peak_mb"] < 40_000


@pytest.mark.parametrize(
    ("shape", "millions"),
    [("smollm2-135m", 134.5), ("smollm2-360m", 361.8), ("gpt2-medium", 354.8)],
)
def test_a_shape_has_as_many_weights_as_the_published_model(shape, millions):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(subjects.SHAPES[shape])
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_both_systems_train_on_the_same_propositions(tiny_backbone):
    spec = {
        "system": "freelm",
        "signal": "teacher",
        "precision": "fp32",
        "examples": 4,
        "tokens": 2048,
        "all_weights": False,
    }
    trainer = train.make_trainer(train.run_config(spec), "smollm2-135m")
    form = trainer.network.form
    plain = train.Sequences(trainer, 1)
    examples = [trainer.teacher.example(i) for i in range(4)]
    assert [len(e.claims) for e in examples] == [3] * 4  # a task of three labels
    expected = [
        ([*form.context(e.context, 256).ids, *form.claim(claim)], truth)
        for e in examples
        for claim, truth in zip(e.claims, e.truths, strict=True)
    ]
    found = [
        (ids[:-1], float(ids[-1] == form.true_id))
        for ids, _ in (plain[i] for i in range(len(plain)))
    ]
    assert sorted(found) == sorted(expected)
    trainer.close()


@pytest.mark.parametrize(("kind", "blocks"), [("llama", ".layers."), ("gpt2", ".h.")])
def test_flops_are_those_of_the_matrices_that_a_token_meets(kind, blocks):
    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model(kind, len(tokenizer))
    weights = [p for n, p in model.named_parameters() if blocks in n and p.dim() == 2]
    total = sum(p.numel() for p in weights)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

    assert train.flops_per_token(Network()) == 6 * total
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert train.flops_per_token(Network()) == 4 * total
