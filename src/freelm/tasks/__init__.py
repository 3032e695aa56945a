"""Tasks as text: propositions, definitions, their registry and the rows they are made of."""

from freelm.tasks.proposition import CLS, SEP, Proposition
from freelm.tasks.registry import TaskRegistry, default_registry
from freelm.tasks.sources import Rows, load_rows
from freelm.tasks.task import Example, Phrasing, Task

__all__ = [
    "CLS",
    "SEP",
    "Example",
    "Phrasing",
    "Proposition",
    "Rows",
    "Task",
    "TaskRegistry",
    "default_registry",
    "load_rows",
]
