"""Every shipped comparison: it loads, and all its arms are done on tiny models and few rows."""

from pathlib import Path

import pytest

from freelm.compare import intervals
from freelm.compare.config import CompareConfig, base_run, load_compare
from freelm.compare.families import select_families
from freelm.compare.outcomes import compare_arms
from freelm.compare.study import Study
from freelm.config import parse_config
from freelm.tasks import default_registry
from tiny_compare import RUN
from tiny_roots import invented_root

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "compare").glob("*.yaml"))


def test_there_are_shipped_comparisons():
    assert {path.stem for path in CONFIGS} >= {"miniworld", "smollm2-glue", "smollm2-families"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_comparison_does_two_steps_an_arm(
    path, tmp_path, world, tiny_base_folder, monkeypatch
):
    config = load_compare(path)
    base = base_run(config, path.parent)
    assert config.name == path.stem
    data = base.model_dump(mode="json")
    if base.model.base:
        data["model"]["base"] = str(tiny_base_folder)
        tasks = default_registry().get_all(config.evaluate.tasks)
        root = invented_root(tmp_path / "root", tasks, list(base.language.corpora))
    else:
        data["model"], root = RUN["model"], world
    data["language"] |= {"block_length": 16, "blocks_per_step": 2}
    data["train"]["compile"] = False  # slower than it saves in two steps
    data["teacher"] |= {"examples_per_step": 2, "validation_rows": 2, "max_context_tokens": 40}
    monkeypatch.setattr(intervals, "RESAMPLES", 10)
    settings = config.model_dump(mode="json")
    settings["budget"] = {"tokens": 100}
    settings["evaluate"] |= {"limit": 2, "windows": 1, "window": 16}
    said = []
    study = Study(
        CompareConfig.model_validate(settings),
        parse_config(data, "test"),
        tmp_path / "out",
        root,
        said.append,
    )
    results = compare_arms(study)
    assert [result.arm for result in results] == config.arms
    assert [result.failures for result in results] == [[] for _ in results]
    assert all(result.seen for result in results)
    assert all(bool(result.perplexity) == bool(config.evaluate.corpus) for result in results)
    assert len(select_families(study, [])) > 1
