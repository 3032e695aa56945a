import numpy as np
import pytest
import torch

import tiny
from freelm.bench import judge, subjects
from freelm.bench.judge import JudgeBench, run_judge_bench
from freelm.judge.questions import choice
from freelm.model.bases import Base
from freelm.model.compute.int8 import number_type
from freelm.model.compute.precision import has_int8_units

ON_CPU = {"device": "cpu"}


@pytest.fixture
def tiny_backbone(monkeypatch):
    def backbone(dtype):
        tokenizer = tiny.make_tokenizer()
        return Base(tiny.make_model("llama", len(tokenizer)).to(dtype).eval(), tokenizer, "x", None)

    for module in (subjects, judge):
        monkeypatch.setattr(module, "backbone", backbone)


def test_rows_hold_medians_and_the_difference_from_single(monkeypatch):
    speeds = {"freelm": iter([3.0, 9.0, 5.0]), "single": iter([1.0, 1.0, 2.0])}
    margins = {"freelm": [[1.0, 2.0]], "single": [[1.0, 1.75]]}
    asked = []

    def measure(worker, spec, device):
        asked.append(spec["system"])
        system = spec["system"]
        found = {"texts_per_s": next(speeds[system]), "peak_mb": 7, "margins": margins[system]}
        return {"by_labels": [found]}

    monkeypatch.setattr(judge, "measure_in_process", measure)
    bench = JudgeBench(["freelm", "single"], [2], [50], ["fp32"], repeats=3)
    rows = list(run_judge_bench(bench))
    assert asked == ["freelm", "single"] * 3
    assert [(row["system"], row["texts_per_s"], row["max_abs_diff"]) for row in rows] == [
        ("freelm", 5.0, 0.25),
        ("single", 1.0, 0.0),
    ]
    assert list(rows[0]) == [
        "system", "labels", "text_tokens", "dtype", "texts_per_s", "peak_mb", "max_abs_diff",
    ]  # fmt: skip


def test_every_number_of_labels_has_its_own_row(monkeypatch):
    def measure(worker, spec, device):
        return {
            "by_labels": [
                {"texts_per_s": 100 / n, "peak_mb": n, "margins": [[float(n)]]}
                for n in spec["labels"]
            ]
        }

    monkeypatch.setattr(judge, "measure_in_process", measure)
    bench = JudgeBench(["freelm", "single"], [64, 1, 4], [50, 200], ["fp32"], repeats=1)
    rows = list(run_judge_bench(bench))
    assert [(row["text_tokens"], row["labels"]) for row in rows if row["system"] == "single"] == [
        (tokens, labels) for tokens in (50, 200) for labels in (1, 4, 64)
    ]
    assert all(row["texts_per_s"] == 100 / row["labels"] for row in rows)
    assert all(row["peak_mb"] == row["labels"] for row in rows)


def test_all_systems_run_on_the_device_asked_for(monkeypatch):
    asked = []

    def measure(worker, spec, device):
        asked.append((spec["system"], device))
        return {"by_labels": [{"texts_per_s": 1.0, "peak_mb": 1.0, "margins": None}]}

    monkeypatch.setattr(judge, "measure_in_process", measure)
    for device in ("cpu", "cuda:1"):
        asked.clear()
        bench = JudgeBench(judge.SYSTEMS, [1], [50], ["fp32"], repeats=1, device=device)
        assert len(list(run_judge_bench(bench))) == len(judge.SYSTEMS)
        assert asked == [(system, device) for system in judge.SYSTEMS]


def test_systems_with_other_weights_have_no_difference(monkeypatch):
    result = {"texts_per_s": 1.0, "peak_mb": 1.0, "margins": None}
    found = {"by_labels": [result]}
    monkeypatch.setattr(judge, "measure_in_process", lambda worker, spec, device: found)
    bench = JudgeBench(["freelm", "hf-pipeline"], [1], [50], ["fp32"], repeats=1)
    assert [row["max_abs_diff"] for row in run_judge_bench(bench)] == [None, None]


def test_int8_is_measured_of_our_own_systems_alone(monkeypatch):
    asked = []

    def measure(worker, spec, device):
        asked.append((spec["dtype"], spec["system"]))
        return {"by_labels": [{"texts_per_s": 1.0, "peak_mb": 1.0, "margins": [[0.0]]}]}

    monkeypatch.setattr(judge, "measure_in_process", measure)
    rows = list(run_judge_bench(JudgeBench(judge.SYSTEMS, [1], [50], ["fp32", "int8"], repeats=1)))
    assert [row["system"] for row in rows if row["dtype"] == "fp32"] == list(judge.SYSTEMS)
    assert [row["system"] for row in rows if row["dtype"] == "int8"] == list(judge.OURS)
    assert len(asked) == len(rows)
    assert "freelm-compiled" not in JudgeBench().systems


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_the_type_asked_for_is_measured(tiny_backbone, dtype):
    if dtype == "int8" and not has_int8_units(torch.device("cpu")):
        pytest.skip("this CPU has no int8 instructions")
    found = number_type(subjects.freelm(dtype, "cpu").model.network)
    assert found == {"bf16": "torch.bfloat16", "int8": "int8"}[dtype]


def test_the_compiled_system_is_compiled(tiny_backbone, monkeypatch):
    compiled = []
    monkeypatch.setattr(subjects, "compile_network", compiled.append)
    spec = {"labels": [2], "text_tokens": 20, "dtype": "fp32", "seconds": 0.01, **ON_CPU}
    with torch.inference_mode():
        for system in ("freelm", "freelm-compiled"):
            judge.measure({**spec, "system": system})
            assert len(compiled) == (system == "freelm-compiled")


@pytest.mark.parametrize("labels", [1, 5])
def test_together_and_alone_give_the_same_margins(tiny_backbone, labels):
    spec = {"labels": [1, labels], "text_tokens": 30, "dtype": "fp32", "seconds": 0.01, **ON_CPU}
    with torch.inference_mode():
        found = [
            judge.measure({**spec, "system": name})["by_labels"][-1]["margins"]
            for name in ("freelm", "single")
        ]
    assert np.shape(found[0]) == (1, labels)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_the_pipeline_of_transformers_answers(tiny_backbone, monkeypatch):
    from freelm.bench import peers

    monkeypatch.setattr(peers, "backbone", subjects.backbone)
    spec = {"labels": [3], "text_tokens": 20, "dtype": "fp32", "seconds": 0.01, **ON_CPU}
    (result,) = judge.measure({**spec, "system": "hf-pipeline"})["by_labels"]
    assert result["texts_per_s"] > 0
    assert result["margins"] is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_peers_run_on_the_device_asked_for(tiny_backbone, monkeypatch, device):
    from freelm.bench import peers

    seen = []
    monkeypatch.setattr(peers, "backbone", subjects.backbone)
    monkeypatch.setattr(peers, "pipeline", lambda *_, **given: seen.append(given["device"]))
    peers.zero_shot_pipeline(torch.float32, device)
    assert seen == [device]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_a_gpu_is_measured():
    systems = ["freelm", "single", "hf-pipeline"]
    bench = JudgeBench(systems, [1, 3], [20], ["fp32", "bf16"], 1, 0.2, "cuda")
    rows = list(run_judge_bench(bench))
    assert len(rows) == 12
    assert all(row["texts_per_s"] > 0 for row in rows)
    peaks = {(row["system"], row["dtype"]): row["peak_mb"] for row in rows}
    for system in systems:  # 135M weights of four and of two bytes, on the GPU and not beside it
        assert 500 < peaks[system, "fp32"] < 2000
        assert 250 < peaks[system, "bf16"] < peaks[system, "fp32"]
    off = {row["dtype"]: row["max_abs_diff"] for row in rows if row["system"] == "freelm"}
    assert off["fp32"] < 1e-3
    assert off["bf16"] < 0.5


@pytest.mark.parametrize("length", [5, 50])
def test_texts_differ_and_have_about_the_length_asked_for(length):
    tokenizer = tiny.make_tokenizer()
    texts = subjects.texts_of(tokenizer, length, 4)
    assert len(set(texts)) == 4
    for text in texts:
        assert abs(len(tokenizer.encode(text, add_special_tokens=False)) - length) <= 3


@pytest.mark.parametrize("count", [2, 64, 128])
def test_labels_differ(count):
    labels = subjects.labels_of(count)
    assert len(set(labels)) == count
    assert len(choice(labels).claims) == count
