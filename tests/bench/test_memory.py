import json

import pytest
import torch

import tiny
from freelm.bench import memory, subjects
from freelm.bench.memory import MemoryBench, run_memory_bench
from freelm.model.bases import Base

ON_CPU = {"device": "cpu"}


@pytest.fixture
def tiny_backbone(monkeypatch):
    def backbone(dtype):
        tokenizer = tiny.make_tokenizer()
        return Base(tiny.make_model("llama", len(tokenizer)).to(dtype).eval(), tokenizer, "x", None)

    monkeypatch.setattr(subjects, "backbone", backbone)


def test_rows_tell_the_peak_on_the_way(monkeypatch):
    asked = []

    def measure(worker, spec, device):
        asked.append((device, spec["dtype"], spec["case"], spec["points"]))
        return {"peak_mb": [float(point) for point in spec["points"]]}

    monkeypatch.setattr(memory, "measure_in_process", measure)
    rows = list(run_memory_bench(MemoryBench(1000, 300, 16, ["fp32", "int8"], device="cuda:1")))
    assert asked == [
        ("cuda:1", dtype, case, points)
        for dtype in ("fp32", "int8")
        for case, points in (("rows", [10, 100, 1000]), ("labels", [3, 30, 300]))
    ]
    assert list(rows[0]) == ["case", "rows", "labels", "dtype", "peak_mb"]
    assert [(r["rows"], r["labels"], r["peak_mb"]) for r in rows[:6]] == [
        (10, 2, 10.0),
        (100, 2, 100.0),
        (1000, 2, 1000.0),
        (1, 3, 3.0),
        (1, 30, 30.0),
        (1, 300, 300.0),
    ]


def test_little_work_has_fewer_points(monkeypatch):
    monkeypatch.setattr(
        memory, "measure_in_process", lambda _, spec, __: {"peak_mb": [1.0] * len(spec["points"])}
    )
    rows = list(run_memory_bench(MemoryBench(10, 2, 16, ["fp32"])))
    assert [(row["case"], row["rows"], row["labels"]) for row in rows] == [
        ("rows", 2, 2),
        ("rows", 10, 2),
        ("labels", 1, 2),
    ]


def test_a_file_of_that_many_different_rows_is_judged(tiny_backbone, monkeypatch):
    monkeypatch.setattr("freelm.files.job.CHUNK_ROWS", 10)
    own, seen = memory.judge_file, []

    def judge_file(job, model, identity, output, progress):
        texts = [json.loads(line)["text"] for line in job.path.read_text().splitlines()]
        outcome = own(job, model, identity, output, progress=progress)
        seen.append((texts, outcome, len(output.read_text().splitlines())))

    monkeypatch.setattr(memory, "judge_file", judge_file)
    spec = {"case": "rows", "points": [2, 20, 200], "dtype": "fp32", "text_tokens": 12, **ON_CPU}
    peaks = memory.measure(spec)["peak_mb"]
    ((texts, outcome, lines),) = seen
    assert len(texts) == len(set(texts)) == outcome.rows == 200
    assert (outcome.bad, lines) == (0, 201)
    assert len(peaks) == 3
    assert peaks == sorted(peaks)
    assert peaks[-1] > 10


def test_one_text_is_judged_by_ever_more_labels(tiny_backbone, monkeypatch):
    asked = []
    own = memory.FreeLM.classify

    def classify(model, text, labels):
        asked.append((text, len(labels)))
        return own(model, text, labels)

    monkeypatch.setattr(memory.FreeLM, "classify", classify)
    spec = {"case": "labels", "points": [2, 9, 90], "dtype": "fp32", "text_tokens": 12, **ON_CPU}
    with torch.inference_mode():
        assert len(memory.measure(spec)["peak_mb"]) == 3
    assert [count for _, count in asked] == [2, 9, 90]
    assert len({text for text, _ in asked}) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_gpu_memory_is_reported():
    rows = list(run_memory_bench(MemoryBench(40, 20, 12, ["fp32"], device="cuda")))
    peaks = [row["peak_mb"] for row in rows if row["case"] == "labels"]
    assert 500 < peaks[0] <= peaks[-1] < 2000
