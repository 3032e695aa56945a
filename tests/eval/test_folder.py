import pytest

from freelm.errors import DataError
from freelm.eval.folder import open_folder
from freelm.eval.results import Result, read_results


def result(suite, task, value=0.5, metric="accuracy"):
    return Result(task, "f", "test", metric, value, 10, None, None, None, suite)


def test_a_folder_in_use_is_refused(tmp_path):
    refused = pytest.raises(DataError, match="another evaluation is writing here")
    with open_folder(tmp_path, "m"), refused, open_folder(tmp_path, "m"):
        pass
    with open_folder(tmp_path, "m"):
        pass


def test_new_figures_replace_those_of_the_same_suite_and_task(tmp_path):
    earlier = [result("seen", "a"), result("seen", "b"), result("robust", "a")]
    new = [result("seen", "a", 0.7, "f1"), result("seen", "c")]
    with open_folder(tmp_path, "m") as folder:
        folder.add_results(earlier)
        assert folder.add_results(new) == [*earlier[1:], *new]
    assert read_results(tmp_path) == [*earlier[1:], *new]


def test_new_details_replace_those_of_the_same_kind_and_subject(tmp_path):
    curve = {"kind": "calibration", "task": "a", "risk": [1]}
    sample = {"kind": "sample", "corpus": "news", "text": "x"}
    skipped = {"kind": "skipped", "suite": "seen", "text": "b: skipped"}
    with open_folder(tmp_path, "m") as folder:
        folder.add_details([curve, sample, sample, skipped], "seen")
        new = {**curve, "risk": [2]}
        assert folder.add_details([new], "calibration") == [sample, sample, skipped, new]
        assert folder.add_details([], "seen") == [sample, sample, new]


def test_overwriting_deletes_the_evaluation_and_nothing_else(tmp_path):
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "x.jsonl").write_text('{"key": {"model": "other"}}\n')
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="another model"), open_folder(tmp_path, "m"):
        pass
    with open_folder(tmp_path, "m", overwrite=True):
        pass
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".lock") == ["notes.txt"]
