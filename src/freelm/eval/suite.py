"""Suites: what a model can be measured on, and running one or all of them.

A suite is one module of `freelm.eval.suites` that holds a `Suite` named `SUITE`. The command line,
the report and the model card find it there. The first line of the module's docstring is its help.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from freelm.api import FreeLM
from freelm.errors import DataError, FreeLMError
from freelm.eval import suites
from freelm.eval.measure import Setting, evaluate_tasks
from freelm.eval.results import Result
from freelm.eval.sections import Block, Findings, task_section, task_summary
from freelm.tasks import Task

Tasks = Sequence[Task] | None
"""The requested tasks; None leaves the choice to the suite."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One way to measure a model.

    Attributes:
        name: The name of its module; None for tasks that are requested by name.
        title: Heading of its section in the report.
        measure: (model, tasks, setting) -> the results, each with the suite's name; None if
            another program measures.
        section: Its section in the report, as plain data; called if the suite has results.
        summary: Its sentences on the first screen of the report; called if the suite has results.
        order: Suites run, and sections appear, in rising order.
        card_heading: What its tasks are called on the model card, which lists the first metric of
            each; None keeps the suite off the card.
        accepts: Whether the suite can ask a task; `--suite all --tasks ...` gives it only these.
    """

    name: str | None
    title: str
    measure: Callable[[FreeLM, Tasks, Setting], list[Result]] | None
    section: Callable[[Findings], list[Block]]
    summary: Callable[[Findings], list[str]]
    order: int
    card_heading: str | None = None
    accepts: Callable[[Task], bool] = lambda task: True


@cache
def all_suites() -> dict[str, Suite]:
    """Name -> suite, in the order in which they run."""
    modules = (importlib.import_module(f"{suites.__name__}.{name}") for name in suites.names())
    found: list[Suite] = [module.SUITE for module in modules]
    return {str(suite.name): suite for suite in sorted(found, key=lambda suite: suite.order)}


def report_suites() -> list[Suite]:
    """Every suite that results can belong to, in the order of the report's sections."""
    return sorted([REQUESTED, HARNESS, *all_suites().values()], key=lambda suite: suite.order)


def run_suite(model: FreeLM, name: str | None, tasks: Tasks, setting: Setting) -> list[Result]:
    """The results of one suite, of all suites, or of single tasks.

    Args:
        model: The model.
        name: A suite, `all`, or None for single tasks.
        tasks: The requested tasks; None leaves the choice to the suite.
        setting: How to evaluate.

    Raises:
        FreeLMError: If a single suite fails; with `all`, failing suites are skipped.
        DataError: If nothing could be measured.
    """
    if name == "all":
        found = (_run_or_skip(model, suite, tasks, setting) for suite in all_suites().values())
        results = [result for results in found for result in results]
    else:
        results = _run(model, REQUESTED if name is None else all_suites()[name], tasks, setting)
    if not results:
        raise DataError("nothing could be measured")
    return results


def _run(model: FreeLM, suite: Suite, tasks: Tasks, setting: Setting) -> list[Result]:
    assert suite.measure is not None
    return suite.measure(model, tasks, setting)


def _run_or_skip(model: FreeLM, suite: Suite, tasks: Tasks, setting: Setting) -> list[Result]:
    if tasks is not None:
        tasks = [task for task in tasks if suite.accepts(task)]
        if not tasks:
            return []
    try:
        return _run(model, suite, tasks, setting)
    except FreeLMError as error:
        setting.skip(f"suite {suite.name}: skipped: {error}")
        return []


REQUESTED = Suite(
    name=None,
    title="Tasks",
    measure=lambda model, tasks, setting: evaluate_tasks(model, tasks or (), setting),
    section=lambda findings: task_section(findings, None, "The requested tasks."),
    summary=lambda findings: task_summary(findings, None, "Requested tasks"),
    order=0,
    card_heading="Tasks, each asked in the first wording of its definition",
)
"""Tasks that are requested by name, outside any suite."""

HARNESS = Suite(
    name="lm-eval",
    title="lm-evaluation-harness",
    measure=None,
    section=lambda findings: task_section(findings, "lm-eval", "Measured by the harness."),
    summary=lambda findings: [],
    order=25,
)
"""Figures of lm-evaluation-harness (`freelm.eval.harness`)."""
