"""The Dockerfile names only what is there, and starts a server that the command line knows."""

import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def instructions():
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def arguments(instructions, name):
    return [given for found, given in instructions if found == name]


def test_only_known_instructions_are_used(instructions):
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions} <= known | {"HEALTHCHECK"}


def test_everything_that_is_copied_is_there_and_let_in(instructions):
    let_in = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for given in arguments(instructions, "COPY"):
        if "--from=" not in given:
            for source in shlex.split(given)[:-1]:
                assert (ROOT / source).exists(), source
                assert source in let_in


def test_no_stage_is_unversioned(instructions):
    assert all(re.match(r"python:3\.\d+-slim", given) for given in arguments(instructions, "FROM"))


def test_it_does_not_run_as_root(instructions):
    names = [name for name, _ in instructions]
    assert arguments(instructions, "USER") == ["freelm"]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_its_command_is_one_that_the_command_line_knows(instructions):
    import typer

    from freelm.cli.main import app

    (entry,), (more,) = arguments(instructions, "ENTRYPOINT"), arguments(instructions, "CMD")
    program, verb, *options = json.loads(entry) + json.loads(more)
    command = typer.main.get_command(app).commands[verb]
    with command.make_context(f"{program} {verb}", options) as context:
        assert context.params["host"] == "0.0.0.0"
        assert context.params["model"] == "/model"
        assert context.params["api_key_env"] == "FREELM_API_KEY"
        assert not context.params["without_key"]
