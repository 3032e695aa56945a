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


class Task(Definition):
    """A sound definition."""

    @classmethod
    def from_file(cls, path: str | Path) -> Task:
        """Read a definition.

        Raises:
            TaskError: If the file cannot be read or the definition has problems (all are named).
        """
        path = Path(path)
        data = read_yaml(path, TaskError)
        if not isinstance(data, dict):
            raise TaskError(f"{path}: must be a mapping with name, family, question, ...")
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
