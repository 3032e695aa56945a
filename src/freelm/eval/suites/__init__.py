"""The suites of `freelm eval`: one module or package each.

A suite's name is the name of its module and its help the first line of the module's docstring.
Both are read without importing the module, so that the command line can list suites at once.
"""

import ast
import pkgutil
from pathlib import Path


def names() -> list[str]:
    """The suites' names, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def help_of(name: str) -> str:
    """What a suite measures, in one line."""
    folder = Path(__path__[0])
    package = folder / name / "__init__.py"
    path = package if package.is_file() else folder / f"{name}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")
