import pytest
import yaml

from freelm.compare.config import KINDS, CompareConfig, base_run, load_compare, merge_settings
from freelm.config import parse_config, shipped_config
from freelm.errors import ConfigError
from tiny_compare import RUN, comparison, write_comparison

ARM = {"name": "one", "kind": "alternate"}


def refused(tmp_path, message, **changes):
    with pytest.raises(ConfigError, match=message) as caught:
        load_compare(write_comparison(tmp_path, **changes))
    assert str(tmp_path / "tiny.yaml") in str(caught.value)


def test_a_comparison_is_read_with_changes(tmp_path):
    config = load_compare(write_comparison(tmp_path), ["budget.tokens=7", "seeds=[1, 2]"])
    assert (config.budget.tokens, config.seeds) == (7, [1, 2])
    assert [arm.kind for arm in config.arms] == ["alternate", "language_only"]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "budget: .*give either tokens or seconds"),
        ({"tokens": 3, "seconds": 3}, "budget: .*give either tokens or seconds"),
        ({"tokens": -5}, "budget.tokens: .*greater than or equal to 1"),
        ({"seconds": -1.0}, "budget.seconds: .*greater than 0"),
        ({"seconds": float("inf")}, "budget.seconds"),
        ({"steps": 5}, "budget.steps: unknown key"),
    ],
)
def test_a_budget_is_tokens_or_seconds(tmp_path, budget, message):
    refused(tmp_path, message, budget=budget)


def test_a_budget_must_be_stated(tmp_path):
    path = write_comparison(tmp_path)
    data = yaml.safe_load(path.read_text())
    del data["budget"]
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="budget: Field required"):
        load_compare(path)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"kind": "label_word"}, "unknown kind 'label_word'; did you mean 'label_words'"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"name": "a/b"}, "name"),
        ({"language_share": 0.5}, "language_share is for mixed and sequential, not alternate"),
        ({"kind": "mixed", "language_share": 1.0}, "language_share: .*less than 1"),
        ({"kind": "in_context"}, "shots are for in_context"),
        ({"shots": 4}, "shots are for in_context, which needs them"),
        ({"kind": "in_context", "shots": -1}, "shots: .*greater than or equal to 0"),
        ({"kind": "untrained", "overrides": {"seed": 3}}, "overrides would change nothing"),
    ],
)
def test_an_arm_fits_its_kind(tmp_path, arm, message):
    refused(tmp_path, message, arms=[{**ARM, **arm}])


def test_no_duplicates(tmp_path):
    refused(tmp_path, "arm 'one' is listed twice", arms=[ARM, ARM])
    refused(tmp_path, "seed 3 is listed twice", seeds=[3, 3])


def test_base_is_found_next_to_the_file_or_by_its_shipped_name(tmp_path):
    config = CompareConfig.model_validate(comparison())
    write_comparison(tmp_path)
    assert base_run(config, tmp_path) == parse_config(RUN, "test")
    shipped = base_run(CompareConfig.model_validate(comparison(base="miniworld")), tmp_path)
    assert shipped == base_run(
        CompareConfig.model_validate(comparison(base=str(shipped_config("miniworld")))), tmp_path
    )


@pytest.mark.parametrize("name", ["other.yaml", "miniwrold"])
def test_a_base_that_is_nowhere_is_named(tmp_path, name):
    with pytest.raises(ConfigError, match=f"base '{name}': no such"):
        base_run(CompareConfig.model_validate(comparison(base=name)), tmp_path)


def test_overrides_of_the_base_are_checked(tmp_path):
    write_comparison(tmp_path)
    config = CompareConfig.model_validate(comparison(overrides={"train": {"steps": 3}}))
    with pytest.raises(
        ConfigError, match=r"base 'run.yaml' with its overrides: train.steps: unkno"
    ):
        base_run(config, tmp_path)


def test_sections_are_merged_and_values_replaced():
    changes = {
        "teacher": {"weights": {"miniworld_entailment": 2.0}, "tasks": ["miniworld_entailment"]},
        "model": {"scratch": {"num_layers": 2}},
    }
    found = merge_settings(RUN, changes)
    assert found["teacher"]["weights"] == {"miniworld_entailment": 2.0}
    assert found["teacher"]["tasks"] == ["miniworld_entailment"]
    assert found["teacher"]["validation_rows"] == RUN["teacher"]["validation_rows"]
    assert found["model"]["scratch"] == {**RUN["model"]["scratch"], "num_layers": 2}
    based = merge_settings(RUN, {"model": {"scratch": None, "base": "a/b"}})
    assert parse_config(based, "test").model.base == "a/b"


def test_every_kind_can_be_asked_for(tmp_path):
    arms = [
        {"name": kind, "kind": kind, **({"shots": 1} if kind == "in_context" else {})}
        for kind in KINDS
    ]
    config = load_compare(write_comparison(tmp_path, arms=arms))
    assert [arm.kind for arm in config.arms] == list(KINDS)
