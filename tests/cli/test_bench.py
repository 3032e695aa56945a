import pytest

from freelm.bench.judge import JudgeBench

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


def test_options_say_what_is_measured(cli, asked):
    answer = cli(
        "bench", "judge", "--peers", "single", "--labels", "1, 64", "--text-tokens", "50",
        "--dtypes", "fp32", "--repeats", "2", "--seconds", "0.5", "--json",
    )  # fmt: skip
    assert (answer.code, answer.json) == (0, ROWS)
    assert asked == [JudgeBench(["freelm", "single"], [1, 64], [50], ["fp32"], 2, 0.5)]


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
        (("--peers", "magic"), "--peers: 'magic' is none of single, hf-pipeline, gliclass"),
        (("--labels", "few"), "--labels: 'few' is no list of whole numbers"),
        (("--labels", "0"), "--labels: give numbers of at least 1"),
        (("--dtypes", "fp8"), "--dtypes: 'fp8' is none of fp32, bf16"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, asked, arguments, message):
    cli("bench", "judge", *arguments).refused(message)
    assert not asked
