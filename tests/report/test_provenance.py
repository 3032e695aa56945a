import json
import shlex

import pytest

from freelm.errors import DataError
from freelm.eval.measure import Setting
from freelm.io.checksum import file_sha256
from freelm.report.provenance import (
    check_other_models,
    learning_curve,
    provenance,
    training_config,
    write_provenance,
)


def test_model_data_code_and_command_are_named(model, world, tmp_path):
    command = ["eval", "m", "--suite", "seen", "--data", str(world)]
    facts = provenance(model, Setting(world, limit=7), command)
    assert facts["command"] == "freelm eval m --suite seen --data DIR"
    assert str(world) not in json.dumps(facts)
    assert facts["data_manifest"] == file_sha256(world / "MANIFEST.json")
    assert facts["rows_per_task"] == 7
    assert facts["record"] == model.facts.record
    assert facts["code"]["torch"]
    assert facts["numbers"] == "torch.float32"
    write_provenance(facts, tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["model"] == model.model.name


def test_command_can_be_pasted_into_a_shell(model):
    command = ["eval", "m", "--tasks", "my task.yaml"]
    found = provenance(model, Setting(), command)["command"]
    assert shlex.split(found) == ["freelm", *command]


def test_without_a_data_root_there_is_no_manifest(model):
    assert provenance(model, Setting(), [])["data_manifest"] is None


def test_a_spread_over_seeds_is_of_other_models(tmp_path):
    def evaluation(name, **facts):
        (tmp_path / name).mkdir()
        write_provenance(facts, tmp_path / name)
        return tmp_path / name

    one, two = evaluation("one", fingerprint="1"), evaluation("two", fingerprint="2")
    check_other_models([one, two], "own")
    with pytest.raises(DataError, match="two: is of the same model as the model that is evaluat"):
        check_other_models([one, two], "2")
    with pytest.raises(DataError, match=r"one: is of the same model as .*one; a spread over seeds"):
        check_other_models([one, one], "own")
    mean = evaluation("mean", fingerprint="3", averaged_with=["one"])
    with pytest.raises(DataError, match="mean: holds means over several models"):
        check_other_models([mean], "own")


def test_the_run_that_a_model_lies_in_is_found(tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    assert learning_curve(str(folder)) == []
    assert training_config(str(folder)) is None
    (folder / "freelm.json").write_text("{}")
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"ste')
    assert learning_curve(str(folder)) == [{"step": 0}, {"step": 1}]
    assert training_config(str(folder)) == "seed: 1\n"
