import json
import os
import signal

import pytest
import yaml

import tiny_runs
from freelm.api import FreeLM
from freelm.train.trainer import Trainer


@pytest.fixture
def root(tmp_path):
    return tiny_runs.write_root(tmp_path / "root", rows=30)


@pytest.fixture
def config(tmp_path):
    def write(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(tiny_runs.config_data(**changes)))
        return path

    return write


def steps(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_run_ends_with_a_model_and_its_folder_on_standard_output(cli, config, root, tmp_path):
    out = tmp_path / "run"
    answer = cli("train", config(), "--data", root, "--out", out, "--set", "train.num_steps=5")
    assert (answer.code, answer.out) == (0, f"{out / 'model'}\n")
    assert steps(out) == [0, 1, 2, 3, 4]
    assert "model:" in answer.err
    verdict = FreeLM.from_pretrained(out / "model").judge("A cat.", "The dog sleeps.")
    assert 0 < verdict.probability < 1


def test_without_out_the_folder_has_the_runs_name(cli, config, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = cli("train", config(train__num_steps=2), "--data", root)
    assert answer.out == "runs/tiny/model\n"
    assert (tmp_path / "runs/tiny/model/freelm.json").is_file()


def test_ctrl_c_saves_and_the_same_command_goes_on(cli, config, root, tmp_path, monkeypatch):
    out = tmp_path / "run"
    command = ["train", config(train__num_steps=7), "--data", root, "--out", out]
    own = Trainer.step

    def step(self, number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return own(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        stopped = cli(*command)
    assert stopped.code == 130
    assert stopped.out == ""
    last = stopped.err.splitlines()[-1]
    assert last == "freelm: stopped after step 3; run the same command to resume"
    resumed = cli(*command)
    assert resumed.code == 0
    assert "resumed after step 3" in resumed.err
    assert steps(out) == list(range(7))
    straight = tmp_path / "straight"
    assert cli(*command[:-1], straight).code == 0
    tiny_runs.same_run(out, straight)


def test_a_finished_run_is_not_done_again(cli, config, root, tmp_path, monkeypatch):
    command = ["train", config(train__num_steps=2), "--data", root, "--out", tmp_path / "run"]
    first = cli(*command)
    monkeypatch.setattr(Trainer, "step", None)
    again = cli(*command)
    assert (again.code, again.out) == (0, first.out)


def test_never_refuses_a_used_folder(cli, config, root, tmp_path):
    out = tmp_path / "run"
    command = ["train", config(train__num_steps=1), "--data", root, "--out", out]
    assert cli(*command, "--resume", "never").code == 0
    cli(*command, "--resume", "never").refused(f"run folder {out} holds a run", "--out")


def test_another_configuration_in_a_used_folder_is_named_by_its_keys(cli, config, root, tmp_path):
    command = ["train", config(train__num_steps=1), "--data", root, "--out", tmp_path / "run"]
    assert cli(*command).code == 0
    cli(*command, "--set", "seed=3", "--set", "optimizer.beta1=0.8").refused(
        "seed, optimizer.beta1 differ"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["colour=red"], "colour: unknown key"),
        (["train.num_step=3"], "train.num_step: unknown key"),
        (["train.num_steps=0"], "train.num_steps: Input should be greater than or equal to 1"),
        (["train.num_steps"], "write key.path=value"),
        (["=3"], "write key.path=value"),
        (["train.num_steps=[3"], "the value is not valid YAML"),
        (["seed.x=3"], "'seed' holds no keys"),
        (["model._target_=os.system"], "model._target_: unknown key"),
        (["model.trust_remote_code=true"], "model.trust_remote_code: unknown key"),
        (["seed=-1", "train.row_length=1"], "train.row_length"),
        (["teacher.tasks=[mnly]"], "unknown task 'mnly'; did you mean 'mnli'"),
        (["teacher.tasks=[wnli]"], "wnli"),
        (["language.corpora={novels: 1.0}"], "no such corpus; available: tiny"),
        (["model={base: runs/no/such/base}"], "unknown model 'runs/no/such/base'"),
        (["language.block_length=4096"], "language.block_length"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_wrong_with_a_run_is_named_before_it_starts(
    cli, config, root, tmp_path, changes, message
):
    sets = [word for change in changes for word in ("--set", change)]
    answer = cli("train", config(), "--data", root, "--out", tmp_path / "run", *sets)
    answer.refused(message)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_config_that_is_none_is_named(cli, tmp_path):
    cli("train", tmp_path / "none.yaml").refused("none.yaml: cannot be read")
    path = tmp_path / "c.yaml"
    path.write_text("name: [")
    cli("train", path).refused(f"{path}: is not valid YAML")
    path.write_text("- a")
    cli("train", path).refused(f"{path}: must be a mapping")


def test_a_folder_that_cannot_be_made_is_named(cli, config, root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    cli("train", config(), "--data", root, "--out", tmp_path / "file" / "run").refused(
        "cannot be created"
    )
