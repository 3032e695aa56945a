from freelm.tasks import Task
from toy_tasks import CHOICE, SCORE, make


def test_phrasings_are_parted_into_trained_and_held_out() -> None:
    task = make(CHOICE)
    assert [phrasing.name for phrasing in task.training_phrasings] == ["plain"]
    assert [phrasing.name for phrasing in task.held_out_phrasings] == ["held"]


def test_a_task_of_ones_own_needs_no_version_reference_or_metrics() -> None:
    for base, metrics in ((CHOICE, ["accuracy"]), (SCORE, ["pearson", "spearman"])):
        left_out = {"version", "reference", "metrics"}
        task = Task.model_validate({k: v for k, v in base.items() if k not in left_out})
        assert (task.version, task.reference, task.metrics) == (1, "", metrics)


def test_stated_metrics_are_kept() -> None:
    assert make(SCORE, metrics=["mae"]).metrics == ["mae"]
