import pytest
import torch

from freelm.bench.judge import JudgeBench
from freelm.bench.memory import MemoryBench
from freelm.model.compute import device as device_module
from freelm.model.compute.device import find_device

ROWS = [{"system": "freelm", "texts_per_s": 12.3456, "max_abs_diff": None}]


@pytest.fixture
def asked(monkeypatch):
    """What was asked to be measured; nothing is."""
    seen: list[JudgeBench] = []

    def run(bench):
        seen.append(bench)
        yield from ROWS

    monkeypatch.setattr("freelm.bench.judge.run_judge_bench", run)
    return seen


def test_options_select_what_is_measured(cli, asked):
    answer = cli(
        "bench", "judge", "--peers", "single", "--labels", "1, 64", "--text-tokens", "50",
        "--dtypes", "fp32", "--repeats", "2", "--seconds", "0.5", "--json",
    )  # fmt: skip
    assert (answer.code, answer.json) == (0, ROWS)
    device = str(find_device(None))
    assert asked == [JudgeBench(["freelm", "single"], [1, 64], [50], ["fp32"], 2, 0.5, device)]


def test_without_json_there_is_a_table_and_the_machine(cli, asked):
    answer = cli("bench", "judge")
    assert answer.code == 0
    assert [line.split() for line in answer.out.splitlines() if line.strip()] == [
        ["system", "texts_per_s", "max_abs_diff"],
        ["freelm", "12.35", "-"],
    ]
    assert "torch" in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--peers", "magic"), "--peers: 'magic' is not one of single, hf-pipeline, gliclass"),
        (("--labels", "few"), "--labels: 'few' is not a list of whole numbers"),
        (("--labels", "0"), "--labels: give numbers of at least 1"),
        (("--dtypes", "fp8"), "--dtypes: 'fp8' is not one of fp32, bf16, int8"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, asked, arguments, message):
    cli("bench", "judge", *arguments).refused(message)
    assert not asked


def test_options_of_precision(cli, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "freelm.bench.precision.run_precision_bench", lambda bench: seen.append(bench) or iter(ROWS)
    )
    words = ["bench", "precision", "some/model", "--tasks", "sst2,rte", "--data", tmp_path]
    answer = cli(*words, "--limit", "9", "--dtypes", "bf16", "--device", "cpu", "--json")
    assert (answer.code, answer.json) == (0, ROWS)
    (bench,) = seen
    assert [task.name for task in bench.tasks] == ["sst2", "rte"]
    assert (bench.model, bench.dtypes, bench.limit) == ("some/model", ["bf16"], 9)
    assert (bench.data_root, bench.device) == (tmp_path, "cpu")
    cli("bench", "precision", "m", "--tasks", "sst3").refused("unknown task 'sst3'")
    cli("bench", "precision", "m", "--tasks", "rte", "--dtypes", "x").refused("--dtypes: 'x' is")
    assert len(seen) == 1


def test_options_of_memory(cli, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "freelm.bench.memory.run_memory_bench", lambda bench: seen.append(bench) or iter(ROWS)
    )
    words = ["--rows", "50", "--labels", "20", "--text-tokens", "8", "--dtypes", "bf16"]
    words += ["--cases", "labels", "--device", "cpu"]
    answer = cli("bench", "memory", *words, "--json")
    assert (answer.code, answer.json) == (0, ROWS)
    assert seen == [MemoryBench(50, 20, 8, ["bf16"], ["labels"], "cpu")]
    cli("bench", "memory", "--cases", "columns").refused("--cases: 'columns' is not one of rows")


BENCHES = {
    "judge": [],
    "train": [],
    "memory": [],
    "precision": ["m", "--tasks", "rte", "--dtypes", "bf16"],
}


@pytest.mark.parametrize("bench", list(BENCHES))
def test_the_device_reaches_the_bench(cli, monkeypatch, bench):
    seen = []
    name = f"freelm.bench.{bench}.run_{bench}_bench"
    monkeypatch.setattr(name, lambda bench: seen.append(bench.device) or iter(ROWS))
    monkeypatch.setattr(device_module, "find_device", lambda name: torch.device(name or "cuda"))
    monkeypatch.setattr("freelm.model.compute.precision.weights_dtype", lambda name, device: None)
    for words in ([], ["--device", "cuda:1"], ["--device", "cpu"]):
        assert cli("bench", bench, *BENCHES[bench], *words, "--json").code == 0
    assert seen == ["cuda", "cuda:1", "cpu"]


@pytest.mark.parametrize("bench", list(BENCHES))
def test_a_device_that_is_not_there_is_refused_before_anything_is_measured(cli, bench):
    words = ["bench", bench, *BENCHES[bench], "--device"]
    cli(*words, "cudaa").refused("device is 'cudaa'; it must be cpu, cuda")
    cli(*words, "cuda:99").refused("device is 'cuda:99', and no such GPU is here")


@pytest.mark.parametrize("bench", [name for name in BENCHES if name != "train"])
def test_a_type_that_the_device_is_not_made_for_is_refused_before_anything_is_measured(
    cli, monkeypatch, bench
):
    monkeypatch.setattr("freelm.model.compute.precision.has_int8_units", lambda device: False)
    words = ["--dtypes", "fp32,int8", "--device", "cpu"]
    cli("bench", bench, *BENCHES[bench], *words).refused("int8 needs a CPU with instructions")
