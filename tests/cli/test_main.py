import os
import re
import subprocess
import sys

import pytest

from freelm import __version__
from freelm.cli import main
from tiny_freelm import Answer, run_program

COMMANDS = [
    ["demo"],
    ["train"],
    ["eval"],
    ["compare"],
    ["judge"],
    ["classify"],
    ["score"],
    ["check"],
    ["rank"],
    ["generate"],
    ["tasks"],
    ["tasks", "list"],
    ["tasks", "show"],
    ["tasks", "preview"],
    ["tasks", "check"],
    ["tasks", "export"],
    ["data"],
    ["data", "list"],
    ["data", "pull"],
    ["data", "check"],
    ["data", "import-paper"],
    ["bench", "judge"],
    ["bench", "precision"],
    ["bench", "memory"],
    ["export"],
    ["card"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_helps_on_standard_output(cli, command):
    answer = cli(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: freelm {' '.join(command)}")


def test_help_names_every_verb(cli):
    answer = cli("--help")
    assert answer.code == 0
    for verb in {command[0] for command in COMMANDS}:
        assert f"  {verb} " in answer.out


def test_version(cli):
    assert cli("--version") == Answer(0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tasks"],
        ["data"],
        ["jugde", "text"],
        ["tasks", "sho"],
        ["judge", "text"],
        ["judge", "text", "--claim"],
        ["judge", "text", "more", "--claim", "c"],
        ["judge", "text", "--claim", "c", "--colour", "red"],
        ["classify", "text"],
        ["classify", "text", "--labels", "a,b", "--threshold", "high"],
        ["score", "text", "--levels", "a,b"],
        ["generate"],
        ["generate", "x", "--max-new-tokens", "many"],
        ["eval", "somewhere"],
        ["eval"],
        ["eval", "m", "--suite", "unknown"],
        ["eval", "m", "--tasks", "rte", "--limit", "0"],
        ["train"],
        ["compare"],
        ["compare", "c.yaml", "sentiment"],
        ["train", "c.yaml", "--resume", "maybe"],
        ["tasks", "preview", "rte", "--n", "0"],
        ["data", "pull"],
    ],
    ids=" ".join,
)
def test_usage_errors_end_with_two_and_say_so_on_standard_error(cli, arguments):
    answer = cli(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert re.search("^(Usage: freelm|Error: )", answer.err, re.MULTILINE)
    assert "Traceback" not in answer.err
    assert "freelm: unexpected" not in answer.err


def raising(monkeypatch, error):
    def load_judge(name, **settings):
        raise error

    monkeypatch.setattr("freelm.cli.judge.load_judge", load_judge)


def test_an_interruption_ends_with_130(cli, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    answer = cli("judge", "t", "--claim", "c")
    assert (answer.code, answer.out, answer.err) == (130, "", "freelm: interrupted\n")


def test_an_interruption_that_has_words_says_them(cli, monkeypatch):
    from freelm.train.run import Interrupted

    raising(monkeypatch, Interrupted("stopped after step 3; run the same command to resume"))
    answer = cli("judge", "t", "--claim", "c")
    assert answer.code == 130
    assert answer.err == "freelm: stopped after step 3; run the same command to resume\n"


def test_what_nobody_foresaw_is_one_line_with_its_kind(cli, monkeypatch):
    raising(monkeypatch, RuntimeError("first line\n  second line"))
    answer = cli("judge", "t", "--claim", "c")
    assert answer.code == 1
    assert answer.err == (
        "freelm: unexpected RuntimeError: first line second line (--debug shows where)\n"
    )


@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_debug_anywhere_lets_the_error_through(monkeypatch, place):
    raising(monkeypatch, RuntimeError("as it is"))
    words = ["judge", "t", "--claim", "c"]
    words.insert(place, "--debug")
    with pytest.raises(RuntimeError, match="as it is"):
        main.run(words)


def test_a_process_shows_the_traceback_on_request_only():
    plain = run_program("tasks", "show", "rtf")
    assert plain.returncode == 1
    assert plain.stdout == b""
    assert plain.stderr == b"freelm: error: unknown task 'rtf'; did you mean 'rte'?\n"
    debug = run_program("tasks", "show", "rtf", "--debug")
    assert debug.returncode == 1
    assert b"Traceback" in debug.stderr
    assert b"TaskError: unknown task 'rtf'" in debug.stderr


def test_help_is_light_and_fast():
    program = (
        "import sys\n"
        "from freelm.cli.main import run\n"
        "try:\n    run(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'matplotlib', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    for words in (["--help"], ["judge", "--help"], ["--version"]):
        result = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        assert result.stdout
        assert result.stderr == "[]\n"


@pytest.mark.parametrize("arguments", [["tasks", "list"], ["tasks", "show", "rte"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(arguments):
    program = [sys.executable, "-m", "freelm", *arguments]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        # Buffered as usual: what is short meets the closed pipe only when the process ends.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        result = subprocess.run(
            program, stdout=writer, stderr=subprocess.PIPE, env=environment, timeout=60
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


def test_the_command_that_is_installed_is_this_one():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="freelm")
    assert entry.load() is main.run


def test_a_missing_extra_is_one_line_that_says_what_to_install(monkeypatch, cli):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setattr("freelm.cli.main._invoke", lambda words: __import__("scipy.optimize"))
    cli("calibrate", "model").refused("needs scipy", "pip install 'freelm[train]'")


def test_judging_imports_no_optional_dependency():
    """The release must run with the core dependencies alone."""
    program = (
        "import sys\n"
        "from freelm.cli.main import EXTRAS\n"
        "for name in [*EXTRAS, 'sklearn', 'psutil']: sys.modules[name] = None\n"
        "import freelm.api, freelm.files.run, freelm.train.run, freelm.export.stock\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
