import json

import pytest

import tiny_runs
from tiny_freelm import Cli, cli, save_freelm

__all__ = ["cli"]


@pytest.fixture
def root(tmp_path):
    return tiny_runs.write_root(tmp_path / "root")


@pytest.fixture
def folder(tmp_path):
    return save_freelm(tmp_path / "model", temperature=3.0, tasks=("snli",))


def test_temperatures_before_and_after_are_told(folder, root, cli: Cli):
    arguments = ["calibrate", folder, "--tasks", "snli", "--limit", "10", "--data", root]
    arguments.append("--even-if-worse")
    answer = cli(*arguments)
    assert answer.code == 0, answer.err
    assert "temperature of verdicts    3.000 -> " in answer.out
    assert "rows                       10 of 1 tasks" in answer.out
    told = json.loads(cli(*arguments, "--json").out)
    assert told["before"] == told["after"]
    assert told["rows"] == {"snli": 10}
