"""Every command and every Python block of the README is run, in order, on tiny stand-ins.

The README is taken as it is. What its commands name and a test does not have is put where they look
for it: trained models in `MODELS`, the base in the cache, a data root for any `--data DIR`, a task
file with its rows for any YAML file of tasks that is not there. Training gets `--set`s that make it
tiny. A command that cannot be run this way fails the test.
"""

import re
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from freelm.io.cache import cached_folder
from freelm.model.releases import merged_folder, released_names
from tiny_freelm import save_freelm

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

MODELS = ("runs/demo/alternate/model", "runs/miniworld/model", "runs/smollm2-135m-cpu/model")
BASE = "bases/smollm2-135m/hf"
CORPORA = ("wikipedia_en_2014", "english_novels", "wikitext2", "miniworld")

SHELL, PYTHON = {"bash", "console", "sh", "shell"}, {"python", "py"}
SMALL = {
    "train.num_steps": 2,
    "train.tokens_per_batch": 256,
    "train.checkpoint_every": 1,
    "language.block_length": 16,
    "language.blocks_per_step": 1,
    "teacher.examples_per_step": 4,
    "teacher.validation_rows": 2,
}
SCRATCH = "{hidden_size: 16, intermediate_size: 32, num_layers: 1, num_heads: 2, vocab_size: 300}"
VERBS = {"demo", "train", "eval", "judge", "classify", "score", "generate", "tasks", "data"}

OWN_TASK = """
name: NAME
version: 1
family: own
question: choice
reference: invented
source: {files: {train: rows.csv, test: rows.csv}}
fields: {text: text}
context: ["{text}"]
label: {column: label, ids: [sun, rain]}
phrasings:
  - name: first
    claims: {sun: The sun shines., rain: It rains.}
metrics: [accuracy]
"""


# -- reading ---------------------------------------------------------------------------------------


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """The lines of a shell block that run freelm, at their start or at the end of a pipe."""
    lines = block.replace("\\\n", " ").splitlines()
    stripped = (line.strip().removeprefix("$ ") for line in lines)
    return [line for line in stripped if re.search(r"(^|\|\s*)(\S*/)?freelm\s", line)]


def parse(line: str) -> tuple[list[str], bytes]:
    """The words after `freelm` of a command and what it reads from standard input."""
    words = shlex.split(line, comments=True)
    stdin = b""
    if "|" in words:
        place = words.index("|")
        echo, words = words[:place], words[place + 1 :]
        assert echo[0] == "echo", f"the test does not know how to run: {line}"
        stdin = (" ".join(echo[1:]) + "\n").encode()
    assert Path(words[0]).name == "freelm", f"the test does not know how to run: {line}"
    operators = {"|", ">", ">>", "<", "&&", "||", ";", "&"}
    unknown = operators & set(words) or "$" in line.removeprefix("$ ") or "`" in line
    assert not unknown, f"the test does not know how to run: {line}"
    return words[1:], stdin


def adapt(words: list[str]) -> list[str]:
    """The same command on stand-ins."""
    assert words[0] in VERBS | {"--help", "--version"}, f"the test does not know {words[0]!r}"
    words = list(words)
    for place, word in enumerate(words):
        if words[place - 1] == "--data" and word != "miniworld":
            words[place] = "stand-in-root"
        if words[place - 1] == "--limit":
            words[place] = "2"
    if words[0] == "tasks" or "--tasks" in words:
        for word in words:
            for name in word.split(","):
                if name.endswith((".yaml", ".yml")) and not Path(name).exists():
                    write_task(Path(name))
    if words[0] == "demo":
        changes = {k: v for k, v in SMALL.items() if k != "train.num_steps"}
        sets = [f"overrides.{key}={value}" for key, value in changes.items()]
        sets += ["budget.tokens=400", "evaluate.limit=2", f"overrides.model.scratch={SCRATCH}"]
        words += [word for change in sets for word in ("--set", change)]
    if words[0] == "train":
        sets = [f"{key}={value}" for key, value in SMALL.items()]
        model = yaml.safe_load(Path(words[1]).read_text())["model"]
        sets.append(f"model.scratch={SCRATCH}" if "scratch" in model else "model.lora.rank=2")
        words += [word for change in sets for word in ("--set", change)]
    return words


# -- stand-ins -------------------------------------------------------------------------------------


def write_task(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OWN_TASK.replace("NAME", path.stem.lower()))
    (path.parent / "rows.csv").write_text("text,label\n" + "A fine day,sun\nA bad day,rain\n" * 3)


def write_root(root: Path, world: Path) -> None:
    """A data root with a few rows of every shipped task."""
    shutil.copytree(world, root)
    for path in (REPOSITORY / "tests/tasks/definition_rows").glob("*.yaml"):
        rows = [yaml.safe_load(path.read_text())["row"]] * 12
        for split in ("train", "validation", "test"):
            file = root / "teacher" / path.stem / f"{split}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), file)
    for corpus in CORPORA:
        for split in ("train", "test"):
            file = root / "language" / corpus / f"{split}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"text": ["The river runs to the sea. " * 9] * 9}), file)


def keep(folder: Path, place: Path) -> None:
    """Put a copy of a model folder into the cache."""
    cached_folder(place, lambda made: shutil.copytree(folder, made, dirs_exist_ok=True))


@pytest.fixture
def place(tmp_path, monkeypatch, own_cache, world, miniworld_is_small, tiny_base_folder):
    """A folder as a reader of the README has it, with everything tiny."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copytree(REPOSITORY / "configs", "configs")
    save_freelm(Path(MODELS[0]))
    for name in MODELS[1:]:
        shutil.copytree(MODELS[0], name)
    for name in released_names():
        keep(Path(MODELS[0]), merged_folder(name))
    keep(tiny_base_folder, own_cache / BASE)
    write_root(Path("stand-in-root"), world)
    monkeypatch.setattr("freelm.miniworld.write_miniworld", lambda out: shutil.copytree(world, out))
    monkeypatch.setattr("freelm.model.bases.pull_base", lambda name, say: own_cache / BASE)
    return folder


def run_all(cli, text: str) -> list[str]:
    """Run the blocks of a text in order; returns what failed."""
    failures = []
    for language, block in blocks(text):
        if language in SHELL:
            for line in commands(block):
                words, stdin = parse(line)
                answer = cli(*adapt(words), stdin=stdin)
                if answer.code:
                    failures.append(f"{line}\n{answer.err}")
        elif language in PYTHON:
            try:
                exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
            except Exception as error:
                failures.append(f"{block}\n{type(error).__name__}: {error}")
    return failures


# -- tests -----------------------------------------------------------------------------------------


def test_every_command_and_python_block_of_the_readme_works(cli, place):
    assert run_all(cli, README) == []


def test_no_command_of_the_readme_is_overlooked():
    found = sum(len(commands(block)) for language, block in blocks(README) if language in SHELL)
    written = re.findall(r"^\s*(?:\$ )?(?:\S*/)?freelm\s+[a-z-].*$", README, re.MULTILINE)
    piped = re.findall(r"\|\s*(?:\S*/)?freelm\s", README)
    assert found == len(written) + len(piped)


SAMPLE = """
```bash
pip install something
freelm --help
freelm data pull base/smollm2-135m       # a comment
freelm data pull miniworld --out mini
freelm demo --json
freelm train configs/smollm2-135m-cpu.yaml --data DIR \\
    --set train.num_steps=100
freelm eval runs/smollm2-135m-cpu/model --suite all --data ../shared/data --limit 1000
freelm eval base/smollm2-135m --tasks rte,mine/my_task.yaml --data DIR
freelm tasks check my_task.yaml
```
Words.
```python
from freelm import FreeLM
model = FreeLM.from_pretrained("runs/smollm2-135m-cpu/model")
assert 0 < model.judge("The soup was cold.", "The guest is happy.").probability < 1
```
```console
$ freelm judge "The soup was cold." --claim "The guest is happy." --model runs/demo/alternate/model
true   0.612  The guest is happy.
$ echo "The soup was cold." | freelm classify --labels food,sport --model base/smollm2-135m
```
"""


def test_a_readme_like_this_one_is_run(cli, place):
    assert run_all(cli, SAMPLE) == []
    assert Path("runs/demo/demo.html").is_file()
    assert Path("runs/smollm2-135m-cpu/model/adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("freelm judge t --claim c --model runs/unknown/model", "unknown model"),
        ("freelm judge t --clam c", "clam"),
        ("freelm tasks show mnly", "unknown task"),
    ],
)
def test_a_command_that_does_not_work_is_found(cli, place, command, message):
    (failure,) = run_all(cli, f"```bash\n{command}\n```\n")
    assert message in failure


@pytest.mark.parametrize(
    "command",
    [
        "freelm fly",
        "freelm judge t --claim c > file",
        "freelm judge $TEXT --claim c",
        "cat file | freelm judge --claim c",
        "freelm tasks list | head",
    ],
)
def test_a_command_that_the_test_does_not_know_is_no_success(cli, command):
    with pytest.raises(AssertionError, match="the test does not know"):
        run_all(cli, f"```bash\n{command}\n```\n")


def test_a_python_block_that_fails_is_found(cli):
    (failure,) = run_all(cli, "```python\nfrom freelm import Nothing\n```\n")
    assert "ImportError" in failure
