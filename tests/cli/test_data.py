import shutil

import pytest

from freelm.io.cache import cache_dir


def test_list_names_bases_corpora_and_tasks(cli, world):
    answer = cli("data", "list", "--data", world, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert all(list(row) == ["kind", "name", "splits"] for row in answer.json)
    rows = {(row["kind"], row["name"]): row["splits"] for row in answer.json}
    assert rows["base", "base/smollm2-135m"] == ["-"]
    assert rows["language", "miniworld"] == ["test", "train", "validation"]
    assert rows["teacher", "miniworld_topic"] == ["test", "train", "validation"]
    assert len(rows) == 1 + 1 + 7


def test_a_base_is_listed_as_here_only_after_a_pull_that_succeeded(cli, own_cache):
    def state():
        return cli("data", "list", "--json").json[0]["splits"]

    folder = own_cache / "bases" / "smollm2-135m"
    (folder / "tmp").mkdir(parents=True)  # what a failed pull leaves
    assert state() == ["-"]
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").touch()
    assert state() == ["here"]


def test_list_in_words(cli, world):
    lines = cli("data", "list", "--data", world).out.splitlines()
    assert ["teacher", "miniworld_qa", "test", "train", "validation"] in [
        line.split() for line in lines
    ]


def test_list_without_a_root_lists_the_bases(cli):
    assert [row["kind"] for row in cli("data", "list", "--json").json] == ["base"]


def test_the_data_root_may_come_from_the_environment(cli, world, monkeypatch):
    monkeypatch.setenv("FREELM_DATA", str(world))
    assert len(cli("data", "list", "--json").json) == 9


@pytest.mark.parametrize("command", [["data", "list"], ["data", "check"], ["tasks", "list"]])
def test_a_data_root_that_is_not_there_is_named(cli, tmp_path, command):
    cli(*command, "--data", tmp_path / "none").refused(f"data root {tmp_path / 'none'}: no such")


# -- pull ------------------------------------------------------------------------------------------


@pytest.fixture
def small_generator(monkeypatch):
    """The miniworld is written small, wherever it is written to."""
    import freelm.miniworld as package

    own = package.write_miniworld
    sizes = {"train_rows": 8, "evaluation_rows": 8, "num_documents": 10}
    monkeypatch.setattr(package, "write_miniworld", lambda root: own(root, **sizes))


def test_pull_miniworld_writes_it_into_a_folder_that_checks(cli, tmp_path, small_generator):
    out = tmp_path / "mini"
    answer = cli("data", "pull", "miniworld", "--out", out)
    assert (answer.code, answer.out) == (0, f"{out}\n")
    checked = cli("data", "check", "--data", out)
    assert (checked.code, checked.out) == (0, "")
    assert "24 of 24 files are as the manifest says" in checked.err


def test_pull_miniworld_without_a_folder_uses_the_cache(cli, own_cache, small_generator):
    answer = cli("data", "pull", "miniworld")
    assert answer.out.startswith(str(cache_dir()))
    assert cli("data", "check", "--data", "miniworld").code == 0


def test_pull_refuses_a_folder_that_holds_something(cli, tmp_path, small_generator):
    (tmp_path / "mine.txt").write_text("mine")
    cli("data", "pull", "miniworld", "--out", tmp_path).refused(f"{tmp_path}: is not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_pull_of_an_unknown_name_is_refused(cli):
    cli("data", "pull", "base/smolm2").refused("unknown base", "did you mean 'base/smollm2-135m'")


def test_pull_says_what_it_does_on_standard_error(cli, monkeypatch, tmp_path):
    def pull_base(name, say):
        say(f"fetching {name}")
        return tmp_path

    monkeypatch.setattr("freelm.model.bases.pull_base", pull_base)
    answer = cli("data", "pull", "base/smollm2-135m")
    assert answer.out == f"{tmp_path}\n"
    assert answer.err == "fetching base/smollm2-135m\n"


# -- check -----------------------------------------------------------------------------------------


def test_check_names_files_that_are_missing_or_tampered_with(cli, world, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(world, root)
    gone = root / "teacher/miniworld_qa/test.parquet"
    gone.unlink()
    changed = root / "teacher/miniworld_topic/train.parquet"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    answer = cli("data", "check", "--data", root)
    assert answer.code == 1
    assert answer.out.splitlines() == [
        f"{gone}: is missing",
        f"{changed}: differs from the manifest (checksum)",
    ]
    assert "22 of 24 files are as the manifest says" in answer.err


def test_check_without_a_root_or_a_manifest_is_refused(cli, tmp_path):
    cli("data", "check").refused("--data DIR")
    cli("data", "check", "--data", tmp_path).refused("MANIFEST.json: cannot be read")
    (tmp_path / "MANIFEST.json").write_text("{")
    cli("data", "check", "--data", tmp_path).refused("MANIFEST.json: is not valid JSON")


# -- import-paper ----------------------------------------------------------------------------------


def test_import_of_what_is_no_checkpoint_is_refused(cli, tmp_path):
    cli("data", "import-paper", tmp_path / "none", "--out", tmp_path / "out").refused(
        str(tmp_path / "none")
    )
    assert not (tmp_path / "out" / "freelm.json").exists()
