import errno
import json
import os
import signal
import time

import pytest
import yaml
from filelock import FileLock

import tiny_runs
from freelm.config import load_config
from freelm.errors import CheckpointError, ConfigError, DataError
from freelm.io.checksum import file_sha256
from freelm.train.folder import RunFolder, build_manifest, read_metrics
from tiny_runs import make_config


@pytest.fixture
def data_file(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"rows")
    return path


@pytest.fixture
def folder(tmp_path, data_file):
    made = RunFolder(tmp_path / "run")
    made.begin(make_config(), [str(data_file), "hub:nyu-mll/glue/rte:train"])
    return made


def test_the_folder_has_the_whole_configuration(folder):
    written = load_config(folder.path / "config.yaml")
    assert written == make_config()
    assert yaml.safe_load((folder.path / "config.yaml").read_text())["optimizer"]["beta1"] == 0.9


def test_the_manifest_has_checksums_and_versions(folder, data_file):
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert manifest == folder.manifest()
    assert manifest["files"] == {
        str(data_file): {"sha256": file_sha256(data_file), "bytes": 4},
        "hub:nyu-mll/glue/rte:train": {},
    }
    assert {"freelm", "torch", "transformers", "commit"} <= manifest["code"].keys()


def test_the_code_version_needs_no_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert build_manifest([])["code"]["commit"] is None


def test_the_same_run_may_go_on(folder, data_file):
    assert folder.is_used()
    folder.begin(make_config(), [str(data_file), "hub:nyu-mll/glue/rte:train"])


def test_a_changed_configuration_is_refused_and_its_keys_named(folder, data_file):
    changed = make_config(seed=1, optimizer__learning_rate=0.5, teacher__weights={"rte": 2.0})
    with pytest.raises(ConfigError) as caught:
        folder.begin(changed, [str(data_file)])
    message = str(caught.value)
    assert "(seed, teacher.weights.rte, optimizer.learning_rate differ)" in message
    assert "--out" in message
    assert load_config(folder.path / "config.yaml") == make_config()


def test_changed_data_are_refused_and_the_file_named(folder, data_file):
    data_file.write_bytes(b"ROWS")
    with pytest.raises(DataError, match=f"^{data_file}: has changed"):
        folder.begin(make_config(), [str(data_file)])


def test_other_data_are_refused(folder, tmp_path):
    (tmp_path / "other.parquet").write_bytes(b"rows")
    with pytest.raises(DataError, match=r"other\.parquet: has changed"):
        folder.begin(make_config(), [str(tmp_path / "other.parquet")])


def test_a_folder_killed_between_its_two_files_can_be_used(tmp_path, data_file, monkeypatch):
    """The configuration is written last: with it a folder holds a run, and all else is there."""
    folder = RunFolder(tmp_path / "run")
    written = []
    own = os.replace

    def kill_after_first(source, target):
        if written:
            raise KeyboardInterrupt
        written.append(target)
        own(source, target)

    monkeypatch.setattr(os, "replace", kill_after_first)
    with pytest.raises(KeyboardInterrupt):
        folder.begin(make_config(), [str(data_file)])
    monkeypatch.undo()
    assert not folder.is_used()
    folder.begin(make_config(), [str(data_file)])
    folder.begin(make_config(), [str(data_file)])


# -- lock ----------------------------------------------------------------------------------------


def refused(out):
    message = rf"^run folder {out}: another run is using it$"
    with pytest.raises(CheckpointError, match=message), RunFolder(out).lock():
        pytest.fail("the folder was given twice")


def test_one_run_at_a_time(folder):
    with folder.lock():
        refused(folder.path)
    with folder.lock():
        pass


def test_the_lock_is_free_after_kill_9(tmp_path, root):
    out = tmp_path / "run"
    process = tiny_runs.start(
        tiny_runs.train_in_child, tiny_runs.config_data(), out, root, {"pause": 60}
    )
    while not (out / "config.yaml").is_file():
        time.sleep(0.02)
    refused(out)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with RunFolder(out).lock():
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder_is_one_clear_line(folder, monkeypatch, number):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    message = f"^run folder {folder.path}: {os.strerror(number)}$"
    with pytest.raises(CheckpointError, match=message), folder.lock():
        pytest.fail("the folder was given")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be created"):
        RunFolder(tmp_path / "file" / "run")


# -- metrics -------------------------------------------------------------------------------------


def test_metrics_are_lines_and_can_be_rewound(folder):
    for step in range(5):
        folder.append_metrics({"step": step, "teacher_loss": step / 2})
    folder.append_metrics({"step": 4, "validation": {"rte": 0.5}})
    assert [r["step"] for r in read_metrics(folder.path)] == [0, 1, 2, 3, 4, 4]
    folder.rewind_metrics(3)
    assert read_metrics(folder.path) == [{"step": s, "teacher_loss": s / 2} for s in range(3)]
    folder.rewind_metrics(0)
    assert read_metrics(folder.path) == []


def test_a_line_that_a_kill_cut_short_is_dropped(folder):
    folder.append_metrics({"step": 0, "teacher_loss": 0.5})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "teach')
    assert [r["step"] for r in read_metrics(folder.path)] == [0]
    folder.rewind_metrics(1)
    folder.append_metrics({"step": 1, "teacher_loss": 0.5})
    assert [r["step"] for r in read_metrics(folder.path)] == [0, 1]


def test_no_metrics_yet(folder):
    assert read_metrics(folder.path) == []


def test_metrics_that_cannot_be_written_are_one_clear_line(folder):
    (folder.path / "metrics.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written"):
        folder.append_metrics({"step": 0})


def test_files_that_cannot_be_written_are_one_clear_line(folder, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder.append_metrics({"step": 0})
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written \(No space"):
        folder.rewind_metrics(0)
    assert [r["step"] for r in read_metrics(folder.path)] == [0]
