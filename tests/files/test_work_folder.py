import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from freelm.errors import DataError
from freelm.files import work_folder
from freelm.files.work_folder import Answers, WorkFolder

STATE = {
    "version": "1",
    "model": {"a": 1},
    "questions": [1],
    "input": {"sha256": "x"},
    "text_column": "text",
    "long_texts": "truncate",
    "shard": [1, 1],
    "chunk_rows": 4,
}


def answers(n):
    table = pa.table({"label": [f"l{n}", None], "": [0.1 * n, None]})
    return Answers(table, [None, "no text"])


@pytest.fixture
def work(tmp_path):
    folder = WorkFolder(tmp_path / "new" / "out.csv")
    with folder.lock():
        yield folder


def test_work_folder_is_next_to_its_output(tmp_path):
    assert WorkFolder(tmp_path / "out.csv").path == tmp_path / "out.csv.partial"


def test_answers_come_back_as_they_were(work):
    work.begin(STATE)
    work.save(0, answers(1))
    work.save(1, answers(2))
    assert work.num_chunks() == 2
    for index, kept in enumerate([answers(1), answers(2)]):
        found = work.load(index)
        assert found.table.equals(kept.table)
        assert found.reasons == kept.reasons


def test_chunks_after_a_gap_do_not_count(work):
    work.begin(STATE)
    for index in (0, 1, 3):
        work.save(index, answers(index))
    assert work.num_chunks() == 2


def test_run_with_the_same_fingerprint_resumes(work):
    work.begin(STATE)
    work.save(0, answers(1))
    work.begin(dict(STATE))
    assert work.num_chunks() == 1


@pytest.mark.parametrize("key", list(STATE))
def test_another_state_is_refused_and_named_and_nothing_is_lost(work, key):
    work.begin(STATE)
    work.save(0, answers(1))
    with pytest.raises(DataError) as caught:
        work.begin({**STATE, key: "other"})
    assert str(caught.value).startswith(f"{work.path}: has answers of an unfinished run")
    assert f"since then {work_folder._DESCRIPTIONS[key]} changed; repeat" in str(caught.value)
    assert str(caught.value).endswith("or delete the folder to start over")
    work.begin(STATE)
    assert work.num_chunks() == 1


def test_another_state_may_begin_where_nothing_was_answered(work):
    work.begin(STATE)
    work.begin({**STATE, "model": {}})
    work.save(0, answers(1))
    with pytest.raises(DataError, match="the model changed"):
        work.begin(STATE)


def test_chunks_without_a_state_are_not_trusted(work):
    work.begin(STATE)
    work.save(0, answers(1))
    (work.path / "fingerprint.json").unlink()
    work.begin(STATE)
    assert work.num_chunks() == 0


def test_only_one_run_holds_it(work):
    with (
        pytest.raises(DataError, match="another run is writing this output"),
        WorkFolder(work.target).lock(),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot be written \(.*\); the answers so far"),
        WorkFolder(tmp_path / "file" / "out.csv").lock(),
    ):
        pass


def test_a_full_disk_leaves_the_chunks_before(work, monkeypatch):
    work.begin(STATE)
    work.save(0, answers(1))

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"No space left on device\).*run the same command"):
            work.save(1, answers(2))
    assert work.num_chunks() == 1
    work.save(1, answers(2))
    assert work.load(1).table.equals(answers(2).table)


def test_a_damaged_chunk_is_named_with_what_to_do(work):
    work.begin(STATE)
    work.save(0, answers(1))
    path = work.path / "chunk-00000000.arrow"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"chunk-00000000\.arrow: cannot be read .*delete it"):
        work.load(0)


def finish(work, content):
    work.begin(STATE)
    work.output.write_text(content)
    work.errors.write_text("errors")
    work.finish({"rows": 5})


def test_output_and_errors_are_put_in_place_and_the_folder_goes(work, tmp_path):
    finish(work, "new")
    assert work.result() == {"rows": 5}
    assert not work.is_placed()
    work.place(tmp_path / "elsewhere" / "errors.jsonl")
    assert work.target.read_text() == "new"
    assert (tmp_path / "elsewhere" / "errors.jsonl").read_text() == "errors"
    assert not work.path.exists()


def test_completion_marker_is_removed_last(work, monkeypatch):
    """A kill at any moment of the removal leaves a folder that another run takes for finished."""
    work.begin(STATE)
    for index in range(3):
        (work.path / f"chunk-{index:08d}.arrow").write_bytes(b"")
    finish(work, "new")
    own, removed = Path.unlink, []

    def unlink(path, missing_ok=False):
        removed.append(path.name)
        own(path, missing_ok=missing_ok)
        if len(removed) == 2:
            raise KeyboardInterrupt  # killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            work.place(None)
    assert all(name.startswith("chunk-") for name in removed)
    assert work.is_placed()
    with pytest.raises(DataError, match="unfinished run"):
        work.begin({**STATE, "questions": [2]})
    work.place(None)
    assert not work.path.exists()
    assert work.target.read_text() == "new"


@pytest.mark.parametrize("kept", [True, False])
def test_an_output_that_was_placed_before_a_kill_is_known(work, kept):
    finish(work, "new")
    os.replace(work.output, work.target)
    assert work.is_placed()
    if not kept:  # somebody took it away before the command ran again
        work.target.unlink()
        assert not work.is_placed()
        assert work.result() is None
        return
    work.place(None)
    assert work.target.read_text() == "new"
    assert not work.path.exists()
