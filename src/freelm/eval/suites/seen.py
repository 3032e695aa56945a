"""Tasks that the model was trained on, on rows that it was not trained on."""

from collections.abc import Sequence

from freelm.api import FreeLM
from freelm.errors import InputError
from freelm.eval.measure import Setting, evaluate_tasks, seen_tasks
from freelm.eval.results import Result
from freelm.eval.sections import task_section, task_summary
from freelm.eval.suite import Suite, Tasks
from freelm.tasks import Task

NAME = "seen"
TEXT = "Tasks whose training split the model was trained on; the rows here are others."


def evaluate_seen(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """The figures of tasks that the model was trained on; others among `tasks` are skipped.

    Raises:
        InputError: If no task is left.
    """
    chosen = seen_tasks(model, setting) if tasks is None else _trained(model, tasks, setting)
    return evaluate_tasks(model, chosen, setting, NAME)


def _trained(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Task]:
    trained = model.facts.record.get("tasks", {})
    chosen = []
    for task in tasks:
        if task.name in trained:
            chosen.append(task)
        else:
            setting.skip(f"{task.name}: skipped: --suite seen takes only tasks trained on")
    if not chosen:
        raise InputError("the model was trained on none of --tasks; omit --suite to measure them")
    return chosen


SUITE = Suite(
    name=NAME,
    title="Seen tasks",
    measure=evaluate_seen,
    section=lambda findings: task_section(findings, NAME, TEXT),
    summary=lambda findings: task_summary(findings, NAME, "Tasks it was trained on"),
    order=10,
    card_heading="Tasks that it was trained on (other rows), in the first wording that was taught",
)
