"""A task: a definition read from its YAML file, which turns rows into propositions.

`Task.example` makes an `Example` of a row, the only thing that training and evaluation see of a
data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from freelm.errors import TaskError, describe_validation
from freelm.io.strict_yaml import read_yaml
from freelm.tasks.definition import Definition, Phrasing
from freelm.tasks.rendering import Example, render_row
from freelm.tasks.soundness import problems

__all__ = ["Example", "Phrasing", "Task"]

DEFINITIONS_DIR = Path(__file__).parent / "definitions"

NOT_INHERITED = ("name", "version", "reference", "source", "licence", "weight", "note", "path")
"""Keys that describe one data set and say nothing about another one of the same kind."""


class Task(Definition):
    """A sound definition."""

    @classmethod
    def from_file(cls, path: str | Path) -> Task:
        """Read a definition.

        Raises:
            TaskError: If the file cannot be read or the definition has problems (all are named).
        """
        path = Path(path)
        data = _read_definition(path)
        try:
            task = cls.model_validate({**data, "path": path})
        except ValidationError as error:
            raise TaskError(f"{path}: {describe_validation(error)}") from None
        found = problems(task)
        if found:
            raise TaskError(f"{path}: " + "; ".join(found))
        return task

    def example(self, row: Mapping[str, Any], row_id: str, phrasing: Phrasing) -> Example:
        """Turn a row into propositions; arguments and errors as `rendering.render_row`."""
        return render_row(self, row, row_id, phrasing)


def _read_definition(path: Path, heirs: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a definition, with those of the definition that it is `like` underneath.

    Raises:
        TaskError: If a file cannot be read, or definitions are like one another in a circle.
    """
    data = read_yaml(path, TaskError)
    if not isinstance(data, dict):
        raise TaskError(f"{path}: must be a mapping with name, family, question, ...")
    like = data.pop("like", None)
    if like is None:
        return data
    other = DEFINITIONS_DIR / f"{like}.yaml"
    if not other.is_file():
        raise TaskError(f"{path}: like: {like!r} is not the name of a shipped task")
    if other in heirs:
        raise TaskError(f"{path}: like: {like!r} is in turn like this task")
    inherited = _read_definition(other, (*heirs, path))
    return {k: v for k, v in inherited.items() if k not in NOT_INHERITED} | data
