import pytest

from freelm.eval.exposure import trained_families, why_seen
from freelm.tasks import default_registry

REGISTRY = default_registry()


def record_of(name, family=None):
    return {"tasks": {name: {"family": family or REGISTRY.get(name).family}}}


@pytest.mark.parametrize(
    ("trained", "task", "reason"),
    [
        ("rte", "rte", "it was trained on"),
        ("rte", "snli", "its family 'entailment' was trained on"),
        ("mnli", "xnli_en", "its family"),
        ("rte", "sst2", None),
        ("sst2", "subj", None),
    ],
)
def test_a_task_is_unseen_by_name_data_and_family(trained, task, reason):
    found = why_seen(REGISTRY.get(task), record_of(trained), REGISTRY)
    assert found is None if reason is None else found.startswith(reason)


def test_the_same_data_under_another_name_and_family_is_seen():
    rte = REGISTRY.get("rte")
    renamed = rte.model_copy(update={"name": "my_rte", "family": "mine"})
    assert why_seen(renamed, record_of("rte"), REGISTRY) == "its data was trained on as rte"


def test_a_family_is_known_as_the_record_and_as_the_registry_name_it():
    assert trained_families(record_of("rte", family="old"), REGISTRY) == {"old", "entailment"}
    assert trained_families({"families": ["x"], "tasks": {}}, REGISTRY) == {"x"}


def test_nothing_is_unseen_by_a_model_whose_training_is_not_on_record():
    assert "not on record" in why_seen(REGISTRY.get("rte"), {"imported_from": "x"}, REGISTRY)


def test_everything_is_unseen_by_a_model_that_was_taught_nothing():
    for record in ({}, {"tasks": {}, "name": "raw text alone"}):
        assert why_seen(REGISTRY.get("rte"), record, REGISTRY) is None
