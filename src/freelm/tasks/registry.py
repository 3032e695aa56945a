"""The registry of task definitions: shipped ones by name, a user's own by file."""

import fnmatch
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from freelm.errors import TaskError, suggest
from freelm.tasks.task import DEFINITIONS_DIR, Task


class TaskRegistry:
    """Task definitions below one folder, read on first use.

    Args:
        folder: Folder of YAML files; the file `a/b.yaml` defines the task `b`.
    """

    def __init__(self, folder: Path = DEFINITIONS_DIR) -> None:
        self._paths: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.yaml")):
            if path.stem in self._paths:
                raise TaskError(
                    f"{path}: task {path.stem!r} is also defined by {self._paths[path.stem]}"
                )
            self._paths[path.stem] = path
        self._tasks: dict[str, Task] = {}

    def names(self) -> list[str]:
        """The names of all shipped tasks, sorted."""
        return sorted(self._paths)

    def get(self, name: str) -> Task:
        """The task of a name, or of a file when the name ends in `.yaml` or `.yml`.

        Raises:
            TaskError: If there is no such task (near matches are named) or it has problems.
        """
        if name.endswith((".yaml", ".yml")):
            return Task.from_file(name)
        if name not in self._paths:
            raise TaskError(f"unknown task {name!r}; {suggest(name, self._paths)}")
        if name not in self._tasks:
            task = Task.from_file(self._paths[name])
            if task.name != name:
                raise TaskError(f"{self._paths[name]}: name {task.name!r} differs from the file's")
            self._tasks[name] = task
        return self._tasks[name]

    def matching(self, patterns: Iterable[str]) -> list[str]:
        """Names and paths, with each pattern such as `task*` replaced by the names that it matches.

        Raises:
            TaskError: If a pattern matches no shipped task.
        """
        found = []
        for pattern in patterns:
            names = fnmatch.filter(self.names(), pattern) if "*" in pattern else [pattern]
            if not names:
                raise TaskError(f"no shipped task matches {pattern!r}")
            found += names
        return found

    def get_all(self, names: Iterable[str]) -> list[Task]:
        """Several tasks, refusing one that is named twice.

        Raises:
            TaskError: As `get`, or if two of the tasks have one name.
        """
        tasks = [self.get(name) for name in names]
        seen: set[str] = set()
        for task in tasks:
            if task.name in seen:
                raise TaskError(f"task {task.name!r} is listed twice")
            seen.add(task.name)
        return tasks


@cache
def default_registry() -> TaskRegistry:
    """The registry of the shipped definitions."""
    return TaskRegistry()
