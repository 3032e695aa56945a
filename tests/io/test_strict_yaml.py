import subprocess
import sys
from pathlib import Path

import pytest

from freelm.errors import ConfigError, TaskError
from freelm.io.strict_yaml import read_yaml


def read(folder: Path, text: str) -> object:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, TaskError)


def test_keys_are_text_as_written(tmp_path: Path) -> None:
    assert read(tmp_path, "{yes: 1, no: 2, 1: 3, 2.50: 4, null: 5, 2026-01-01: 6}") == {
        "yes": 1,
        "no": 2,
        "1": 3,
        "2.50": 4,
        "null": 5,
        "2026-01-01": 6,
    }


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "'true'"])
def test_true_as_a_key_is_written_small(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f"a: {{{word}: 1}}") == {"a": {"true": 1}}


def test_values_keep_their_types(tmp_path: Path) -> None:
    assert read(tmp_path, "[yes, 1, 2.5, null, 'yes']") == [True, 1, 2.5, None, "yes"]


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}"
    assert read(tmp_path, text) == {"base": {"a": 1, "b": 2}, "own": {"a": 1, "b": 3}}


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3", "b:\n  - {a: 1,\n    a: 2}", "1: x\n\n'1': y"]
)
def test_duplicate_key_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"a\.yaml: is not valid YAML \(line 3: duplicate key '\w'"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["a: [", "a: 2026-13-45", "!!python/object/apply:os.system [ls]"])
def test_what_is_no_plain_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"a\.yaml: is not valid YAML") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_the_error_is_of_the_kind_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml", ConfigError)


# -- hostile files --------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested more than 50 levels deep"),
        ("{a: " * 100_000, "nested more than 50 levels deep"),
        ("\n".join(" " * n + "a:" for n in range(200)), "nested more than 50 levels deep"),
        ("- " * 100_000, "nested more than 50 levels deep"),
        (LAUGHS, "more than 200,000 values, aliases included"),
        ("a: &a [*a]", "alias 'a' is used before its anchor is complete"),
        ("a: *b", "alias 'b' is used before its anchor is complete"),
        ("#" * 5_000_000, "is larger than 4,194,304 bytes"),
    ],
    ids=["brackets", "braces", "blocks", "dashes", "laughs", "cycle", "undefined", "size"],
)
def test_a_hostile_file_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    """In a process of its own: building such values ended the process with a segmentation fault."""
    (tmp_path / "a.yaml").write_text(text)
    code = (
        "import sys, pathlib\n"
        "from freelm.errors import TaskError\n"
        "from freelm.io.strict_yaml import read_yaml\n"
        "try:\n"
        "    read_yaml(pathlib.Path(sys.argv[1]), TaskError)\n"
        "except TaskError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.yaml")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert problem in result.stdout
    assert result.stdout.count("\n") == 1


def test_aliases_of_a_modest_size_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &a [1, {b: 2}]\nb: [*a, *a]") == {
        "a": [1, {"b": 2}],
        "b": [[1, {"b": 2}], [1, {"b": 2}]],
    }
