import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from freelm.errors import TaskError
from freelm.tasks.registry import default_registry
from freelm.tasks.task import Task
from toy_tasks import CHOICE, OPTIONS, PREDICATE, SCORE, TEMPLATE, make

PLAIN = CHOICE["phrasings"][0]


def write(folder: Path, data: Any, name: str = "toy.yaml") -> Path:
    path = folder / name
    path.write_text(
        data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False), encoding="utf-8"
    )
    return path


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    data = {**CHOICE, "context": ["{txt}"], "phrasings": [PLAIN, PLAIN]}
    with pytest.raises(TaskError) as caught:
        Task.from_file(write(tmp_path, data))
    assert "unknown field 'txt'" in str(caught.value)
    assert "two have the same name" in str(caught.value)
    assert str(tmp_path / "toy.yaml") in str(caught.value)


@pytest.mark.parametrize("base", [CHOICE, TEMPLATE, PREDICATE, SCORE, OPTIONS])
def test_a_file_gives_the_task_that_was_written(tmp_path: Path, base: dict[str, Any]) -> None:
    task = Task.from_file(write(tmp_path, base))
    assert task.path == tmp_path / "toy.yaml"
    assert task.model_dump() == make(base).model_dump()


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(CHOICE), encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert Task.from_file(path).name == "toy"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes("reference: café".encode("latin-1"))
    with pytest.raises(TaskError, match=r"toy\.yaml: is not UTF-8 text; save it as UTF-8"):
        Task.from_file(path)


@pytest.mark.parametrize("text", ["name: [", "a: b: c", "\tname: x", "name: !!python/name:os.x"])
def test_a_file_that_is_not_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"toy\.yaml: is not valid YAML \(.+\)") as caught:
        Task.from_file(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"toy\.yaml: must be a mapping"):
        Task.from_file(write(tmp_path, text))


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskError, match="cannot be read") as caught:
        Task.from_file(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nversion: 1\nname: b",
        "label:\n  ids: {yes: 0, other: 1, yes: 2}",
        "label:\n  ids: {true: 0, 'true': 1}",
        "phrasings:\n  - name: a\n    name: b",
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaskError, match=r"line \d: duplicate key '\w+'"):
        Task.from_file(write(tmp_path, text))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"descripton": "x"}, "descripton: unknown key"),
        ({"label": {**CHOICE["label"], "colum": "x"}}, "label.colum: unknown key"),
        (
            {"phrasings": [{**PLAIN, "heldout": True}]},
            "phrasings.0.heldout: unknown key",
        ),
        ({"source": {"hub": {"path": "a", "code": "b"}}}, "source.hub.code: unknown key"),
        ({"question": "guess"}, "question: Input should be 'predicate', 'choice'"),
        ({"metrics": []}, "metrics: List should have at least 1 item"),
        ({"metrics": ["luck"]}, "metrics.0: Input should be"),
        ({"version": 0}, "version: Input should be greater than or equal to 1"),
        ({"name": "Toy Task"}, "name: String should match pattern"),
        ({"context": []}, "context: List should have at least 1 item"),
        ({"phrasings": []}, "phrasings: List should have at least 1 item"),
    ],
)
def test_keys_and_values_outside_the_schema_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TaskError) as caught:
        Task.from_file(write(tmp_path, {**CHOICE, **changes}))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    data = {key: value for key, value in CHOICE.items() if key != "family"}
    with pytest.raises(TaskError, match="family: Field required"):
        Task.from_file(write(tmp_path, data))


def test_label_names_true_and_false_need_no_quotes(tmp_path: Path) -> None:
    text = """
        name: toy
        version: 1
        family: truth
        question: predicate
        reference: invented
        fields: {text: text}
        context: ["{text}"]
        label: {column: label, ids: {false: 0, true: 1}}
        phrasings:
          - name: plain
            claims:
              false: "It is not so."
              True: "It is so."
        metrics: [accuracy]
    """
    task = Task.from_file(write(tmp_path, textwrap.dedent(text)))
    assert list(task.label.ids) == ["false", "true"]
    example = task.example({"text": "x", "label": True}, "toy/test/3", task.phrasings[0])
    assert example.claims == ("It is not so.", "It is so.")


def test_a_list_of_ids_means_that_the_column_holds_the_names() -> None:
    task = make(CHOICE, label__ids=["bad", "fair", "good"])
    assert task.label.ids == {"bad": "bad", "fair": "fair", "good": "good"}
    row = {"sentence": "x", "label": "fair"}
    assert task.example(row, "toy/test/3", task.phrasings[0]).target == 1


LIKE_MNLI = {
    "name": "toy",
    "version": 1,
    "like": "mnli",
    "reference": "invented",
    "fields": {"premise": "text1", "hypothesis": "text2"},
}


def test_a_definition_like_another_takes_over_what_it_does_not_state(tmp_path: Path) -> None:
    task, other = Task.from_file(write(tmp_path, LIKE_MNLI)), default_registry().get("mnli")
    assert task.phrasings == other.phrasings
    assert task.fields == {"premise": "text1", "hypothesis": "text2"}
    assert task.reference == "invented"


def test_a_definition_like_another_has_its_own_rows(tmp_path: Path) -> None:
    task = Task.from_file(write(tmp_path, LIKE_MNLI))
    assert task.source.hub is None
    assert not task.note


def test_like_names_a_shipped_task(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="like: 'mnl' is not the name of a shipped task"):
        Task.from_file(write(tmp_path, {**LIKE_MNLI, "like": "mnl"}))
