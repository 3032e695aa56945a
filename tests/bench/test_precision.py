import numpy as np
import pytest
import torch

from freelm.bench import precision
from freelm.bench.precision import PrecisionBench, run_precision_bench
from freelm.judge.requests import Request
from freelm.model.compute.precision import has_int8_units
from freelm.tasks import default_registry, load_rows

KEYS = [
    "dtype", "task", "n", "flips", "max_abs_diff", "mean_abs_diff", "texts_per_s", "peak_mb",
]  # fmt: skip


def bench(*tasks, dtypes=("int8",), **options):
    return PrecisionBench("m", default_registry().get_all(tasks), dtypes, **options)


def measured(monkeypatch, margins):
    """Let every measurement find the margins of its type."""
    asked = []

    def measure(worker, spec, device):
        asked.append({**spec, "device": device})
        return {"margins": margins[spec["dtype"]], "texts_per_s": 2.0, "peak_mb": 7.0}

    monkeypatch.setattr(precision, "measure_in_process", measure)
    return asked


def share(margin):
    return 1 / (1 + np.exp(-margin))


def test_flips_are_answers_that_differ_and_differences_are_of_probabilities(monkeypatch):
    exact = [[0.0, 1.0, -1.0], [2.0, -2.0], [0.5, 0.4]]
    rough = [[0.0, 1.5, -1.0], [2.0, -2.0], [0.4, 0.5]]
    measured(monkeypatch, {"fp32": exact, "int8": rough})
    first, second = run_precision_bench(bench("sst2"))
    assert list(first) == list(second) == KEYS
    assert (first["dtype"], first["n"], first["flips"], first["max_abs_diff"]) == ("fp32", 3, 0, 0)
    assert (second["dtype"], second["n"], second["flips"]) == ("int8", 3, 1)
    off = [share(1.5) - share(1.0), *[share(0.5) - share(0.4)] * 2]
    assert second["max_abs_diff"] == pytest.approx(max(off))
    assert second["mean_abs_diff"] == pytest.approx(sum(off) / 7)


def test_a_predicate_flips_where_its_own_claim_does(monkeypatch):
    # Of these two claims the first is the one that a predicate is false by.
    exact = [[3.0, 1.0], [-3.0, 1.0], [0.0, 0.1]]
    rough = [[1.0, 3.0], [3.0, 1.0], [0.0, -0.1]]
    measured(monkeypatch, {"fp32": exact, "int8": rough})
    tasks = [task for task in all_tasks() if task.question == "predicate"]
    if not tasks:
        pytest.skip("no shipped task is a predicate")
    _, row = run_precision_bench(PrecisionBench("m", tasks[:1], ["int8"]))
    assert list(tasks[0].label.ids)[1] == "true"
    assert row["flips"] == 1


def all_tasks():
    registry = default_registry()
    return registry.get_all(registry.names())


def test_each_task_is_judged_in_fp32_and_then_in_the_others_once(monkeypatch):
    margins = {dtype: [[0.0, 1.0]] for dtype in ("fp32", "bf16", "int8")}
    asked = measured(monkeypatch, margins)
    rows = list(
        run_precision_bench(bench("sst2", "rte", dtypes=("bf16", "fp32", "int8"), device="cpu"))
    )
    assert [(row["task"], row["dtype"]) for row in rows] == [
        (task, dtype) for task in ("sst2", "rte") for dtype in ("fp32", "bf16", "int8")
    ]
    assert [spec["dtype"] for spec in asked] == ["fp32", "bf16", "int8"] * 2
    assert {spec["device"] for spec in asked} == {"cpu"}


def test_another_device_is_compared_with_fp32_on_it(monkeypatch):
    asked = measured(monkeypatch, {dtype: [[0.0, 1.0]] for dtype in ("fp32", "bf16")})
    list(run_precision_bench(bench("sst2", dtypes=("bf16",), device="cuda:1")))
    found = [(spec["dtype"], spec["device"]) for spec in asked]
    assert found == [("fp32", "cuda:1"), ("bf16", "cuda:1")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_bf16_of_a_gpu_is_compared(world, freelm_folder):
    (task,) = default_registry().get_all(["miniworld_topic"])
    bench = PrecisionBench(str(freelm_folder), [task], ["bf16"], world, 5, "cuda")
    exact, rough = run_precision_bench(bench)
    assert (exact["n"], exact["max_abs_diff"]) == (5, 0)
    assert 0 < rough["max_abs_diff"] < 0.1
    assert 0 < rough["peak_mb"] < 100


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_measurement_judges_the_report_split(world, freelm_folder, model, dtype):
    if dtype == "int8" and not has_int8_units(torch.device("cpu")):
        pytest.skip("this CPU has no int8 instructions")
    (task,) = default_registry().get_all(["miniworld_topic"])
    spec = {
        "model": str(freelm_folder),
        "task": str(task.path),
        "data_root": str(world),
        "limit": 5,
        "dtype": dtype,
        "device": "cpu",
    }
    found = precision.measure(spec)
    assert found["texts_per_s"] > 0
    assert found["peak_mb"] > 10
    rows = load_rows(task, task.report_split, world)
    examples = list(rows.examples(task.training_phrasings[0]))[:5]
    exact = model.judge_requests([Request(e.context, e.claims) for e in examples])
    for margins, judged in zip(found["margins"], exact, strict=True):
        close = 1e-5 if dtype == "fp32" else 0.5
        np.testing.assert_allclose(margins, judged.margins, atol=close)
