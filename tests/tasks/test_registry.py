from pathlib import Path
from typing import Any

import pytest
import yaml

from freelm.errors import TaskError
from freelm.tasks.registry import TaskRegistry, default_registry


def definition(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": 1,
        "family": "toys",
        "question": "choice",
        "reference": "invented",
        "fields": {"text": "text"},
        "context": ["{text}"],
        "label": {"column": "label", "ids": {"no": 0, "yes": 1}},
        "phrasings": [{"name": "plain", "claims": {"no": "It is not so.", "yes": "It is so."}}],
        "metrics": ["accuracy"],
    }


def write(path: Path, name: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(definition(name or path.stem)), encoding="utf-8")
    return path


@pytest.fixture
def registry(tmp_path: Path) -> TaskRegistry:
    for name in ("toy_news.yaml", "toy_mail.yaml", "small/world.yaml"):
        write(tmp_path / "shipped" / name)
    return TaskRegistry(tmp_path / "shipped")


def test_names_are_sorted_and_folders_do_not_count(registry: TaskRegistry) -> None:
    assert registry.names() == ["toy_mail", "toy_news", "world"]


def test_a_task_is_read_once(registry: TaskRegistry) -> None:
    task = registry.get("world")
    assert task.name == "world"
    assert registry.get("world") is task


def test_definitions_are_read_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [", encoding="utf-8")
    write(tmp_path / "sound.yaml")
    registry = TaskRegistry(tmp_path)
    assert registry.get("sound").name == "sound"
    with pytest.raises(TaskError, match=r"broken\.yaml: is not valid YAML"):
        registry.get("broken")


def test_an_unknown_task_names_near_matches(registry: TaskRegistry) -> None:
    with pytest.raises(TaskError) as caught:
        registry.get("toy_new")
    assert str(caught.value).startswith("unknown task 'toy_new'; did you mean 'toy_news'")


def test_an_unknown_task_without_near_matches_names_all(registry: TaskRegistry) -> None:
    with pytest.raises(TaskError) as caught:
        registry.get("zzz")
    assert str(caught.value) == "unknown task 'zzz'; available: toy_mail, toy_news, world"


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml"])
def test_a_name_that_ends_in_yaml_is_a_users_file(
    registry: TaskRegistry, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "own" / name, name="my_task")
    task = registry.get(str(path))
    assert task.name == "my_task"
    assert task.path == path
    assert "my_task" not in registry.names()


def test_a_users_file_that_is_missing_is_named(registry: TaskRegistry, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"gone\.yaml: cannot be read"):
        registry.get(str(tmp_path / "gone.yaml"))


def test_a_name_that_differs_from_its_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "toy.yaml", name="other")
    with pytest.raises(TaskError) as caught:
        TaskRegistry(tmp_path).get("toy")
    assert str(caught.value) == f"{path}: name 'other' differs from the file's"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "toy.yaml")
    second = write(tmp_path / "b" / "toy.yaml")
    with pytest.raises(TaskError) as caught:
        TaskRegistry(tmp_path)
    assert str(caught.value) == f"{second}: task 'toy' is also defined by {first}"


def test_several_tasks_keep_the_order_asked_for(registry: TaskRegistry) -> None:
    assert [task.name for task in registry.get_all(["world", "toy_mail"])] == ["world", "toy_mail"]


def test_a_task_that_is_listed_twice_is_refused(registry: TaskRegistry, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="task 'world' is listed twice"):
        registry.get_all(["world", "toy_mail", "world"])
    own = write(tmp_path / "own.yaml", name="world")
    with pytest.raises(TaskError, match="task 'world' is listed twice"):
        registry.get_all(["world", str(own)])


def test_the_shipped_registry_is_made_once_and_has_the_classics() -> None:
    registry = default_registry()
    assert registry is default_registry()
    assert {"sst2", "ag_news", "banking77", "tweet_eval_stance"} <= set(registry.names())


def test_a_pattern_stands_for_the_shipped_names_that_it_matches() -> None:
    registry = default_registry()
    names = registry.matching(["mnli", "bigbench_*", "own/task.yaml"])
    assert names[0] == "mnli"
    assert names[-1] == "own/task.yaml"
    assert names[1:-1] == [n for n in registry.names() if n.startswith("bigbench_")]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(TaskError, match="no shipped task matches 'mnly\\*'"):
        default_registry().matching(["mnly*"])
