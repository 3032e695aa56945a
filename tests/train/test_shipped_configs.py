"""Every shipped configuration: it loads, and does two steps on a tiny model and invented data."""

from pathlib import Path

import pytest
import torch

from freelm.config import RunConfig, load_config, parse_config, shipped_config
from freelm.miniworld import write_miniworld
from freelm.model.compute.precision import has_int8_units
from freelm.tasks import default_registry
from freelm.train.run import train
from tiny_roots import invented_root
from tiny_runs import BASIC, facts, metrics

TESTS = Path(__file__).parents[1]
CONFIGS = sorted((TESTS.parent / "configs").glob("*.yaml"))


def taught(config: RunConfig) -> list[str]:
    """The names of the tasks of a run."""
    return default_registry().matching(config.teacher.tasks) if config.teacher else []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_does_two_steps(path, tmp_path, tiny_base_folder):
    config = load_config(path)
    assert config.name == path.stem
    assert shipped_config(path.stem) == path
    data = config.model_dump(mode="json", exclude_none=True)
    if config.model.base:
        data["model"]["base"] = str(tiny_base_folder)
        data["model"].get("lora", {}).pop("start", None)  # the model of an earlier run
        if data["model"]["precision"] == "int8" and not has_int8_units(torch.device("cpu")):
            data["model"]["precision"] = "fp32"
    else:
        data["model"] = BASIC["model"]
    if config.language:
        data["language"] |= {"block_length": min(config.language.block_length, 128)}
        data["language"] |= {"blocks_per_step": 2}
    if config.teacher:
        data["teacher"] |= {"examples_per_step": 8, "validation_rows": 3}
    data["train"] |= {"num_steps": 2, "evaluate_every": 1, "compile": False}
    if config.data == "miniworld":
        root = tmp_path / "root"
        write_miniworld(root, train_rows=30, evaluation_rows=10, num_documents=60)
    else:
        tasks = default_registry().get_all(taught(config))
        corpora = list(config.language.corpora) if config.language else []
        root = invented_root(tmp_path / "root", tasks, corpora)
    out = tmp_path / "run"
    train(parse_config(data, str(path)), out, root, say=lambda line: None)
    records = metrics(out)
    assert [r["step"] for r in records if "signal" in r] == [0, 1]
    assert (out / "model" / "freelm.json").is_file()
    if config.teacher:
        assert set(facts(out)["record"]["tasks"]) == set(taught(config))


def test_there_are_shipped_configurations():
    assert len(CONFIGS) >= 2


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_can_be_written_out_and_read_again(path):
    config = load_config(path)
    assert parse_config(config.model_dump(mode="json"), "again") == config
