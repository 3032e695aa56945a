"""The pages of a comparison: tables with intervals, plots, and how to reproduce them."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import yaml

from freelm.compare.config import KINDS, UNTRAINED
from freelm.compare.families import FamilyResult
from freelm.compare.intervals import Estimate
from freelm.compare.measure import Versions
from freelm.compare.outcomes import ArmResult, score_name
from freelm.compare.prompt_examples import prompt_examples
from freelm.compare.study import Study
from freelm.compare.training import RUN_FOLDER
from freelm.data.prompts import PROMPTS
from freelm.eval.sections import (
    OTHER,
    OURS,
    Block,
    Bullets,
    DotPlot,
    Paragraph,
    Point,
    ScatterPlot,
    Series,
    Table,
    Verbatim,
)
from freelm.report.page import Page, without_empty_columns
from freelm.report.plots import learning_curves
from freelm.train.folder import code_version, read_metrics

INTERVALS = (
    "Intervals are 95% bootstrap intervals over items; with several seeds, Student's t widens them "
    "and ± is the standard deviation over seeds. Differences are paired on the same items, also "
    "those from the best answer without the text. Tasks are fixed: a mean is about these tasks."
)
LIKELIHOOD = (
    "Label words are judged by their likelihood after the text, followed by an end token; verdicts "
    "by the softmax over a row's claims."
)
UNEQUAL_STEPS = 1.5
"""The page points out arms whose numbers of steps differ by more than this factor."""

Section = tuple[str, Sequence[Block]]
"""Title and blocks of a section."""


def format_estimate(
    estimate: Estimate | None, factor: float = 100, digits: int = 1, sign: str = ""
) -> str:
    """An estimate with its interval, `84.1 [82.0, 86.2]`; empty for None."""
    if estimate is None:
        return ""
    value, low, high = (
        f"{factor * x:{sign}.{digits}f}" for x in (estimate.value, estimate.low, estimate.high)
    )
    spread = "" if estimate.spread is None else f" ± {factor * estimate.spread:.{digits}f}"
    return f"{value}{spread} [{low}, {high}]"


# -- arms ------------------------------------------------------------------------------------------


def arms_page(
    study: Study,
    results: Sequence[ArmResult],
    command: str,
    title: str | None = None,
    intro: str = "",
    sections: Iterable[Section] = (),
) -> Page:
    """The page of a comparison of arms.

    Args:
        study: The study.
        results: Its results.
        command: How to reproduce them.
        title: Title of the page, if not the comparison's name.
        intro: A paragraph at the top.
        sections: Further sections, placed after the tasks.
    """
    name = score_name(results)
    page = Page(title or f"Comparison {study.config.name}", _arms_summary(study, results), intro)
    caveats = [_unequal_steps(results), _not_tuned(study, results), INTERVALS, LIKELIHOOD]
    page.add(
        "Arms",
        arms_table(results),
        *(Paragraph(text) for text in caveats if text),
        Bullets([f"{result.arm.name}: {_describe(result)}" for result in results]),
        _arms_plot(results, name),
        _perplexity_plot(results, name),
    )
    page.add("Tasks", *_task_tables(results), _task_plot(results))
    page.add("Learning", learning_curves(_training_metrics(study, results)))
    for heading, blocks in sections:
        page.add(heading, *blocks)
    code = [(r.arm.name, r.code) for r in results]
    page.add("Notes", _notes([(r.arm.name, r.notes) for r in results], code))
    page.add("How tasks are asked", *prompt_examples(study.tasks.all, study.data_root))
    page.add("Reproduce", *_reproduce(study, command))
    return page


def arms_table(results: Sequence[ArmResult]) -> Table:
    """One row per arm."""
    first, name = results[0].arm.name, score_name(results)
    head = (
        "arm", f"seen: {name}", "in phrasings never trained", f"against {first}",
        f"unseen: {name}", "perplexity", "bits per byte", "tokens", "of these raw text", "steps",
        "seconds", "seeds", "failed",
    )  # fmt: skip
    rows = [
        (
            r.arm.name,
            format_estimate(r.seen),
            format_estimate(r.held_out),
            format_estimate(r.against_first, sign="+"),
            format_estimate(r.unseen),
            format_estimate(r.perplexity, 1, 3),
            format_estimate(r.bits_per_byte, 1, 3),
            *(f"{x:,.0f}" for x in (r.tokens, r.language_tokens, r.steps, r.seconds, r.seeds)),
            "; ".join(r.failures),
        )
        for r in results
    ]
    return without_empty_columns(Table(head, rows))


def _describe(result: ArmResult) -> str:
    arm, text = result.arm, KINDS[result.arm.kind]
    if arm.language_share is not None:
        text += f", {100 * arm.language_share:g}% of the tokens raw text"
    if arm.shots is not None:
        text = f"{arm.shots} {text}"
    return text + (f" (with {arm.overrides})" if arm.overrides else "")


def _unequal_steps(results: Sequence[ArmResult]) -> str:
    trained = [r for r in results if r.arm.kind not in (*UNTRAINED, "per_task") and r.steps]
    most = max(trained, key=lambda r: r.steps, default=None)
    least = min(trained, key=lambda r: r.steps, default=None)
    if most is None or least is None or most.steps <= UNEQUAL_STEPS * least.steps:
        return ""
    return (
        f"An equal budget is not an equal number of steps: {most.arm.name} took {most.steps:,.0f} "
        f"and {least.arm.name} {least.steps:,.0f}, so number and size of the steps may explain "
        "part of the difference between arms."
    )


def _not_tuned(study: Study, results: Sequence[ArmResult]) -> str:
    kinds = {result.arm.kind for result in results}
    text = f"No arm was tuned: the learning rate, {study.base.optimizer.learning_rate:g}, was "
    parts = [text + "chosen for propositions"]
    if any("learning_rate" in result.arm.overrides.get("optimizer", {}) for result in results):
        parts[0] += " (exceptions are listed below)"
    if "in_context" in kinds:
        parts.append(
            "in-context answers are compared by their summed log-likelihood, uncorrected, with one "
            "draw of demonstrations per seed"
        )
    if "untrained" in kinds or ("language_only" in kinds and study.base.model.base is not None):
        parts.append(
            f"models that were taught no task get the best of {len(PROMPTS)} prompts, chosen on "
            "training rows"
        )
    return "; ".join(parts) + "."


def _arms_summary(study: Study, results: Sequence[ArmResult]) -> list[str]:
    return [
        _setting(study),
        *_single_seed([(r.arm.name, r.seeds) for r in results if r.arm.kind not in UNTRAINED]),
        *_seen_summary(results),
        *_unseen_summary(results),
        *_perplexity_summary(results),
        *(f"Failed: {r.arm.name}: {'; '.join(r.failures)}." for r in results if r.failures),
    ]


def _seen_summary(results: Sequence[ArmResult]) -> list[str]:
    ranked = sorted((r for r in results if r.seen), key=lambda r: -_value(r.seen))
    if not ranked:
        return []
    best, worst, first = ranked[0], ranked[-1], results[0].arm.name
    gains = [(r.arm.name, r.seen_gain) for r in ranked]
    sentences = [
        f"Seen tasks, mean {score_name(results)}: best {best.arm.name} with "
        f"{format_estimate(best.seen)}, worst {worst.arm.name} with {format_estimate(worst.seen)}; "
        + _against_constant(_constant(results, True), gains)
    ]
    for text, sign in (
        ("Significantly better than", 1),
        ("Significantly worse than", -1),
        ("Not significantly different from", 0),
    ):
        listed = [r for r in ranked if r.against_first and _sign(r.against_first) == sign]
        names = ", ".join(
            f"{r.arm.name} ({format_estimate(r.against_first, sign='+')})" for r in listed
        )
        sentences += [f"{text} {first} on the seen tasks: {names}."] if listed else []
    return sentences


def _unseen_summary(results: Sequence[ArmResult]) -> list[str]:
    ranked = sorted((r for r in results if r.unseen), key=lambda r: -_value(r.unseen))
    if not ranked:
        return []
    best, gains = ranked[0], [(r.arm.name, r.unseen_gain) for r in ranked]
    return [
        f"Tasks of families that are not trained on: best {best.arm.name} with "
        f"{format_estimate(best.unseen)}; {_against_constant(_constant(results, False), gains)}"
    ]


def _perplexity_summary(results: Sequence[ArmResult]) -> list[str]:
    ranked = sorted((r for r in results if r.perplexity), key=lambda r: _value(r.perplexity))
    if not ranked:
        return []
    low, high = (f"{r.arm.name} with {format_estimate(r.perplexity, 1, 2)}" for r in
                 (ranked[0], ranked[-1]))  # fmt: skip
    return [f"Perplexity: lowest {low}, highest {high}."]


def _constant(results: Sequence[ArmResult], is_seen: bool) -> float:
    """Mean score of the best answer without the text, of the first arm that has all tasks."""
    listed = [
        [task.majority for task in r.tasks if task.is_seen == is_seen]
        for r in results
        if (r.seen if is_seen else r.unseen)
    ]
    return float(np.mean(listed[0])) if listed else 0.0


def _against_constant(constant: float, gains: Sequence[tuple[str, Estimate | None]]) -> str:
    text = f"the best answer without the text has {100 * constant:.1f}"
    level = [name for name, gain in gains if gain is None or gain.low <= 0]
    if not level:
        return f"{text}, and every arm is significantly better."
    return f"{text}; not significantly better than that: {', '.join(level)}."


def _value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def _sign(difference: Estimate) -> int:
    """1 or -1 for a significant difference, else 0."""
    return (difference.low > 0) - (difference.high < 0)


def _setting(study: Study) -> str:
    config, limit = study.config, study.config.evaluate.limit
    rows = "all rows" if limit is None else f"at most {limit:,} rows per task"
    seeds = ", ".join(map(str, config.seeds))
    return (
        f"Budget: {config.budget.words}. Seeds: {seeds}. Measured on {rows} of "
        f"{len(study.tasks.seen)} seen and {len(study.tasks.unseen)} unseen tasks."
    )


def _task_tables(results: Sequence[ArmResult]) -> list[Block]:
    """Tasks by arms: one table of seen tasks and one of unseen ones."""
    blocks: list[Block] = []
    by_arm = [{task.task: task for task in r.tasks} for r in results]
    for is_seen, text in ((True, "Tasks that are trained on."), (False, "Unseen families.")):
        tasks = {t.task: t for tasks in by_arm for t in tasks.values() if t.is_seen == is_seen}
        rows = [
            (
                f"{name} ({task.metric})", task.family, task.split, f"{task.n:,}",
                f"{100 * task.majority:.1f}",
                *(format_estimate(a[name].estimate if name in a else None) for a in by_arm),
            )
            for name, task in tasks.items()
        ]  # fmt: skip
        head = ["task", "family", "split", "n", "without the text", *(r.arm.name for r in results)]
        blocks += [Paragraph(text), Table(head, rows)] if rows else []
    return blocks


# -- plots of arms ---------------------------------------------------------------------------------


def _points(estimates: Sequence[Estimate | None]) -> list[Point]:
    """Points of a dot plot, in percent."""
    return [
        Point(row, 100 * e.value, 100 * e.low, 100 * e.high)
        for row, e in enumerate(estimates)
        if e is not None
    ]


def _arms_plot(results: Sequence[ArmResult], name: str) -> DotPlot | None:
    if not any(result.seen for result in results):
        return None
    series = [Series("seen tasks, 95% interval", _points([r.seen for r in results]), OURS)]
    if any(result.unseen for result in results):
        points = _points([r.unseen for r in results])
        series.append(Series("tasks of unseen families", points, OTHER))
    arms, line = [result.arm.name for result in results], 100 * _constant(results, True)
    return DotPlot(
        "arms", f"{name} by arm", arms, series, f"mean {name} (x 100)", dodge=True,
        line=line, line_label="best answer without the text",
    )  # fmt: skip


def _perplexity_plot(results: Sequence[ArmResult], name: str) -> ScatterPlot | None:
    points = {
        r.arm.name: (
            Point(0, r.perplexity.value, r.perplexity.low, r.perplexity.high),
            _points([r.seen])[0],
        )
        for r in results
        if r.seen and r.perplexity
    }
    if not points:
        return None
    return ScatterPlot(
        "perplexity", f"{name} against perplexity, one point per arm", points,
        "perplexity (lower is better; logarithmic)", f"mean {name} on seen tasks (x 100)",
    )  # fmt: skip


def _task_plot(results: Sequence[ArmResult]) -> DotPlot | None:
    """Score by task, for comparisons with few enough arms to tell apart."""
    tasks = {t.task: t.majority for r in results for t in r.tasks}
    if not tasks or len(results) > 3:
        return None
    series = []
    for result in results:
        found = {t.task: t.estimate for t in result.tasks}
        series.append(Series(result.arm.name, _points([found.get(task) for task in tasks])))
    return DotPlot(
        "by-task", "Score by task", list(tasks), series, "score (x 100)", dodge=True,
        baselines=[100 * majority for majority in tasks.values()],
    )  # fmt: skip


def _training_metrics(
    study: Study, results: Sequence[ArmResult]
) -> dict[str, list[dict[str, float]]]:
    """Arm -> metrics of its run with the first seed, if it has one run."""
    runs = {
        r.arm.name: study.arm_folder(r.arm, study.config.seeds[0]) / RUN_FOLDER for r in results
    }
    return {name: read_metrics(run) for name, run in runs.items() if run.is_dir()}


# -- families --------------------------------------------------------------------------------------


def families_page(study: Study, results: Sequence[FamilyResult], command: str) -> Page:
    """The page of families left out."""
    metrics = {task.metrics[0] for task in study.tasks.seen}
    name = "accuracy" if metrics == {"accuracy"} else "score"
    page = Page(f"Families left out: {study.config.name}", _families_summary(study, results))
    page.add(
        "Families", families_table(results), Paragraph(INTERVALS), _families_plot(results, name)
    )
    code = [(r.family, r.code) for r in results]
    page.add("Notes", _notes([(r.family, r.notes) for r in results], code))
    page.add("Reproduce", *_reproduce(study, command))
    return page


def families_table(results: Sequence[FamilyResult]) -> Table:
    """One row per family."""
    head = (
        "family left out", "tasks", "left out", "without the text", "no task taught",
        "left out against no task taught", "taught", "other tasks, without it",
        "other tasks, taught all", "tokens", "seeds", "failed",
    )  # fmt: skip
    rows = [
        (
            r.family,
            ", ".join(r.tasks),
            format_estimate(r.unseen),
            "" if r.majority is None else f"{100 * r.majority:.1f}",
            format_estimate(r.baseline),
            format_estimate(r.gain, sign="+"),
            *(format_estimate(x) for x in (r.everything, r.seen, r.seen_everything)),
            f"{r.tokens:,.0f}",
            str(r.seeds),
            "; ".join(r.failures),
        )
        for r in results
    ]
    return without_empty_columns(Table(head, rows))


def _families_plot(results: Sequence[FamilyResult], name: str) -> DotPlot:
    series = [
        Series("taught", _points([r.everything for r in results]), OURS),
        Series("left out", _points([r.unseen for r in results]), OTHER),
        Series("no task taught", _points([r.baseline for r in results]), "0.3"),
    ]
    return DotPlot(
        "families", f"{name} by family", [r.family for r in results], series,
        f"mean {name} (x 100)", dodge=True,
        baselines=[None if r.majority is None else 100 * r.majority for r in results],
    )  # fmt: skip


def _families_summary(study: Study, results: Sequence[FamilyResult]) -> list[str]:
    done = [r for r in results if r.unseen]
    sentences = [_setting(study), *_single_seed([(r.family, r.seeds) for r in results])]
    if done:
        above = [r.family for r in done if r.over_constant and r.over_constant.low > 0]
        sentences.append(
            f"Of {len(done)} families left out, the model is significantly better than the best "
            f"answer without the text on {len(above)}: {', '.join(above) or 'none'}."
        )
    if any(r.gain for r in done):
        gained = ", ".join(r.family for r in done if r.gain and r.gain.low > 0) or "none"
        sentences.append(f"Significantly better than a model that was taught no task: {gained}.")
    if both := [(_value(r.unseen), r.everything.value) for r in done if r.everything]:
        unseen, taught = 100 * np.mean(both, axis=0)
        sentences.append(f"Mean over families: {unseen:.1f} left out, {taught:.1f} taught.")
    return sentences + [
        f"Failed: {r.family}: {'; '.join(r.failures)}." for r in results if r.failures
    ]


# -- both ------------------------------------------------------------------------------------------


def _single_seed(seeds: Sequence[tuple[str, int]]) -> list[str]:
    """What results of one seed cannot show.

    Args:
        seeds: What was trained, and with how many seeds.
    """
    done = [(name, count) for name, count in seeds if count]
    once = [name for name, count in done if count == 1]
    if not once:
        return []
    who = "Everything" if len(once) == len(done) else ", ".join(once)
    return [
        f"{who} was trained once, with one seed: here, significant means that other rows of these "
        "tasks would also show a difference between these very models. Whether another training "
        "run would, one seed cannot show."
    ]


def _notes(
    notes: Sequence[tuple[str, Sequence[str]]], code: Sequence[tuple[str, list[Versions]]]
) -> Bullets | None:
    lines = [*_code_notes(code), *(f"{name}: {note}" for name, own in notes for note in own)]
    return Bullets(lines) if lines else None


def _code_notes(code: Sequence[tuple[str, list[Versions]]]) -> list[str]:
    """Versions that differ between the compared results.

    Args:
        code: Name of a result, and the versions that trained and measured it.
    """
    notes = []
    for package in dict.fromkeys(key for _, versions in code for one in versions for key in one):
        names: dict[str, list[str]] = {}
        for name, versions in code:
            for version in dict.fromkeys(one.get(package) or "unknown" for one in versions):
                names.setdefault(version, []).append(name)
        if len(names) > 1:
            listed = "; ".join(
                f"{version} for {'all' if len(who) == len(code) else ', '.join(who)}"
                for version, who in names.items()
            )
            different = "commits" if package == "commit" else f"versions of {package}"
            notes.append(f"Trained or measured with different {different}: {listed}")
    return notes


def _reproduce(study: Study, command: str) -> list[Block]:
    facts: Mapping[str, str | None] = {
        **code_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "data root": str(study.data_root),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    comparison, run = (
        Verbatim(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False))
        for config in (study.config, study.base)
    )
    return [
        Verbatim(command),
        Table(("what", "value"), [(name, value) for name, value in facts.items() if value]),
        Paragraph("The comparison:"),
        comparison,
        Paragraph("The run that the arms are variants of:"),
        run,
    ]
