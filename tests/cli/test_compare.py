import json

import pytest

import tiny_compare
from freelm.train.trainer import Trainer

ARMS = ["alternate", "language_only"]
FILES = ["html", "md", "jsonl"]


@pytest.fixture
def compare(cli, world, tmp_path, monkeypatch):
    """`compare(words, key=value)` runs a tiny comparison in a folder of the test."""
    monkeypatch.setattr("freelm.train.run.plot_losses", lambda records, path: None)

    def call(*words, **changes):
        path = tiny_compare.write_comparison(tmp_path / "config", **changes)
        return cli("compare", path, *words, "--data", world, "--out", tmp_path / "out")

    return call


def test_arms_are_compared_and_written(compare, tmp_path, monkeypatch):
    answer = compare("--json")
    assert answer.code == 0, answer.err
    arms = [line for line in answer.json if line["what"] == "arm"]
    assert [line["arm"] for line in arms] == ARMS
    for line in arms:
        assert line["budget"] == "equal tokens: 2,500 for each trained arm"
        assert line["seen"]["low"] <= line["seen"]["value"] <= line["seen"]["high"]
    for kind in FILES:
        assert (tmp_path / "out" / f"arms.{kind}").is_file()
    written = (tmp_path / "out" / "arms.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == answer.json
    # The same command again trains nothing, and without --json it shows a table.
    monkeypatch.setattr(Trainer, "step", None)
    again = compare()
    assert again.code == 0
    assert all(arm in again.out for arm in ARMS)
    assert "equal tokens" in again.out


def test_values_can_be_changed(compare):
    answer = compare("--set", "budget.tokens=1", "--set", "evaluate.limit=2", "--json")
    assert answer.code == 0, answer.err
    assert {line["n"] for line in answer.json if line["what"] == "task"} == {2}
    assert all(line["steps"] == 1 for line in answer.json if line["what"] == "arm")


def test_families_are_left_out(compare, tmp_path):
    answer = compare("--leave-out-families", "topic,sentiment", "--json")
    assert answer.code == 0, answer.err
    assert [line["family"] for line in answer.json] == ["topic", "sentiment"]
    for kind in FILES:
        assert (tmp_path / "out" / f"families.{kind}").is_file()
    assert {p.name for p in (tmp_path / "out/families").iterdir()} == {"topic", "sentiment"}


def test_failing_arm_is_reported_and_the_exit_code_is_1(compare, tmp_path, monkeypatch):
    own = Trainer.step

    def step(self, number):
        if self.config.name == "alternate":
            raise RuntimeError("out of luck")
        return own(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    answer = compare("--json")
    assert answer.code == 1
    failed, done = (line for line in answer.json if line["what"] == "arm")
    assert failed["failures"] == ["seed 0: RuntimeError: out of luck"]
    assert done["seen"] is not None
    assert "failed: alternate; the same command tries again" in answer.err
    assert "out of luck" in (tmp_path / "out" / "arms.html").read_text()
    monkeypatch.setattr(Trainer, "step", own)
    assert compare().code == 0


def test_ctrl_c_exits_with_130_and_the_same_command_resumes(compare, monkeypatch):
    own = Trainer.step

    def step(self, number):
        if self.config.name == "language_only" and number == 3:
            raise KeyboardInterrupt
        return own(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        stopped = compare()
    assert (stopped.code, stopped.out) == (130, "")
    assert "the same command resumes from there" in stopped.err
    resumed = compare()
    assert resumed.code == 0
    assert "arm alternate" not in resumed.err
    assert "resumed after step 2" in resumed.err


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        (
            (),
            {"arms": [{"name": "a", "kind": "mixd"}]},
            "unknown kind 'mixd'; did you mean 'mixed'",
        ),
        ((), {"budget": {"tokens": 3, "seconds": 3}}, "give either tokens or seconds"),
        (("--set", "budget.tokens=-1"), {}, "budget.tokens"),
        (("--set", "evaluate.tasks=[rtf]"), {}, "unknown task 'rtf'"),
        (("--leave-out-families", "colour"), {}, "family 'colour' is not in the battery"),
        ((), {"base": "nothing.yaml"}, "base 'nothing.yaml': no such file"),
    ],
)
def test_what_is_wrong_is_one_line(compare, words, changes, message):
    answer = compare(*words, **changes)
    answer.refused(message)
    assert answer.out == ""


def test_families_without_the_option_are_a_usage_error(compare):
    answer = compare("topic")
    assert answer.code == 2
    assert "families are named after --leave-out-families" in answer.err


def test_a_file_that_is_not_there_is_named(cli, tmp_path):
    cli("compare", tmp_path / "none.yaml").refused("none.yaml: cannot be read")
