"""An evaluation: which suites are run on what, one after the other, whatever becomes of one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from freelm.api import FreeLM
from freelm.errors import DataError, FreeLMError, InputError
from freelm.eval.measure import Setting, evaluate_tasks, seen_tasks
from freelm.eval.results import Result
from freelm.eval.suites.calibration import evaluate_calibration
from freelm.eval.suites.completion import completion_tasks, evaluate_completion
from freelm.eval.suites.decisions import decision_questions, evaluate_decisions
from freelm.eval.suites.generation import evaluate_generation
from freelm.eval.suites.language import evaluate_language, evaluation_corpora
from freelm.eval.suites.robust import evaluate_robustness
from freelm.eval.suites.unseen import evaluate_unseen
from freelm.tasks import Task

Tasks = Sequence[Task] | None
Suite = Callable[[FreeLM, Tasks, Setting], list[Result]]


def _seen(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """The tasks that were trained on; one that was asked for and was not, is told of."""
    chosen = seen_tasks(model, setting.say) if tasks is None else _taught(model, tasks, setting)
    return evaluate_tasks(model, chosen, setting, "seen")


def _taught(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Task]:
    taught = model.facts.record.get("tasks", {})
    chosen = [task for task in tasks if task.name in taught]
    for task in tasks:
        if task not in chosen:
            setting.say(f"{task.name}: left out: it was not trained on; --suite seen excludes it")
    if not chosen:
        raise InputError("none of --tasks was trained on; leave --suite seen out to measure them")
    return chosen


def _unseen(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    return evaluate_unseen(model, None if tasks is None else list(tasks), setting)


def _robust(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    return evaluate_robustness(model, tasks or seen_tasks(model, setting.say), setting)


def _calibration(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    return evaluate_calibration(model, tasks or seen_tasks(model, setting.say), setting)


def _language(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """Texts first; of tasks, those that end a text and have data, or that were asked for.

    Where the texts were named, only tasks that were named come with them.
    """
    named = setting.corpora
    results = [replace(r, suite="language") for r in evaluate_language(model, named, setting)]
    if tasks is not None or named is None:
        chosen = completion_tasks(setting) if tasks is None else tasks
        results += evaluate_completion(model, chosen, setting)
    assert setting.data_root is not None  # or the first line would have refused
    corpora = named or evaluation_corpora(setting.data_root)
    return results + evaluate_generation(model, corpora, setting)


SUITES: dict[str, Suite] = {
    "seen": _seen,
    "unseen": _unseen,
    "robust": _robust,
    "calibration": _calibration,
    "decisions": evaluate_decisions,
    "language": _language,
}
"""Name -> what measures it, in the order in which all are run."""


def run_suite(model: FreeLM, name: str | None, tasks: Tasks, setting: Setting) -> list[Result]:
    """The figures of one suite, of all, or of tasks by themselves.

    Args:
        model: The model.
        name: A suite, `all`, or None for the tasks alone.
        tasks: The tasks that were asked for; None leaves the choice to the suite.
        setting: How to evaluate.

    Raises:
        FreeLMError: If the one suite that was asked for cannot be done; of `all`, those that
            cannot are told of and the others are done.
        DataError: If nothing could be measured.
    """
    if name is None:
        results = evaluate_tasks(model, tasks or (), setting)
    elif name == "all":
        results = [r for suite in SUITES for r in _one_of_all(model, suite, tasks, setting)]
    else:
        results = SUITES[name](model, tasks, setting)
    if not results:
        raise DataError("nothing could be measured")
    return results


def _one_of_all(model: FreeLM, name: str, tasks: Tasks, setting: Setting) -> list[Result]:
    if name == "decisions" and tasks is not None:
        questions = decision_questions()
        tasks = [task for task in tasks if task.name in questions]
        if not tasks:
            return []
    try:
        return SUITES[name](model, tasks, setting)
    except FreeLMError as error:
        setting.say(f"suite {name}: left out: {error}")
        return []
