"""The pages of a comparison: one table with intervals, plots, and what it was made with."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import yaml

from freelm.compare import plots
from freelm.compare.asked import how_asked
from freelm.compare.config import KINDS, UNTRAINED
from freelm.compare.families import FamilyResult
from freelm.compare.intervals import Figure
from freelm.compare.outcomes import ArmResult, score_name
from freelm.compare.study import Study
from freelm.data.prompts import PROMPTS
from freelm.report.page import Block, Bullets, Code, Grid, Heading, Page, Paragraph, Plot
from freelm.train.folder import code_version

INTERVALS = (
    "Intervals are 95% bootstrap intervals over items, widened where there are several seeds by "
    "Student's t of so many; ± is the standard deviation over seeds. Differences are paired, on "
    "the same items, those from the best answer without the text too. Tasks are not drawn: a mean "
    "speaks of these tasks."
)
UNEQUAL_STEPS = 1.5
"""Arms whose numbers of steps differ by more than this factor are told of."""

LIKELIHOOD = (
    "Label words are judged by their likelihood after the text, closed by an end token; verdicts "
    "by the softmax over a row's claims."
)


def shown(figure: Figure | None, factor: float = 100, digits: int = 1, sign: str = "") -> str:
    """A figure with its interval, `84.1 [82.0, 86.2]`; empty where there is none."""
    if figure is None:
        return ""
    value, low, high = (
        f"{factor * x:{sign}.{digits}f}" for x in (figure.value, figure.low, figure.high)
    )
    spread = "" if figure.spread is None else f" ± {factor * figure.spread:.{digits}f}"
    return f"{value}{spread} [{low}, {high}]"


# -- arms ------------------------------------------------------------------------------------------


def arms_page(study: Study, results: Sequence[ArmResult], command: str) -> Page:
    """The page of a comparison of arms."""
    name = score_name(results)
    page = Page(f"Comparison {study.config.name}")
    page.add(Bullets(_arms_summary(study, results), summary=True))
    page.add(Heading("Arms"), arms_grid(results))
    below = [_unequal_steps(results), _not_tuned(study, results), INTERVALS, LIKELIHOOD]
    page.add(*(Paragraph(words) for words in below if words))
    page.add(Bullets([f"{result.arm.name}: {_about(result)}" for result in results]))
    if any(result.seen for result in results):
        drawing = plots.by_arm(results, name, _constant(results, True))
        page.add(Plot("arms", drawing, f"{name} by arm"))
    if any(result.seen and result.perplexity for result in results):
        drawing = plots.against_perplexity(results, name)
        page.add(Plot("perplexity", drawing, f"{name} against perplexity, one point an arm"))
    page.add(Heading("Tasks"), *_task_grids(results))
    noted = [(result.arm.name, result.notes) for result in results]
    page.add(*_notes(noted, _code_notes([(r.arm.name, r.code) for r in results])))
    page.add(*how_asked(study.tasks.all, study.data_root))
    page.add(*_made_with(study, command))
    return page


def arms_grid(results: Sequence[ArmResult]) -> Grid:
    """The table of a comparison: one row an arm."""
    first, name = results[0].arm.name, score_name(results)
    head = (
        "arm", f"seen: {name}", f"against {first}", f"unseen: {name}", "perplexity",
        "bits per byte", "tokens", "of these raw text", "steps", "seconds", "seeds", "not done",
    )  # fmt: skip
    rows = [
        (
            result.arm.name,
            shown(result.seen),
            shown(result.against_first, sign="+"),
            shown(result.unseen),
            shown(result.perplexity, 1, 2),
            shown(result.bits_per_byte, 1, 3),
            f"{result.tokens:,.0f}",
            f"{result.language_tokens:,.0f}",
            f"{result.steps:,.0f}",
            f"{result.seconds:,.0f}",
            str(result.seeds),
            "; ".join(result.failures),
        )
        for result in results
    ]
    return without_empty_columns(Grid(head, rows))


def without_empty_columns(grid: Grid) -> Grid:
    """The table without the columns in which no row says anything."""
    kept = [i for i in range(len(grid.head)) if any(row[i] for row in grid.rows)]
    return Grid([grid.head[i] for i in kept], [[row[i] for i in kept] for row in grid.rows])


def _about(result: ArmResult) -> str:
    arm, words = result.arm, KINDS[result.arm.kind]
    if arm.language_share is not None:
        words += f", {100 * arm.language_share:g}% of the tokens raw text"
    if arm.shots is not None:
        words = f"{arm.shots} {words}"
    return words + (f" (with {arm.overrides})" if arm.overrides else "")


def _unequal_steps(results: Sequence[ArmResult]) -> str:
    """How far the numbers of steps lie apart; nothing where they are much the same."""
    trained = [r for r in results if r.arm.kind not in (*UNTRAINED, "per_task") and r.steps]
    if not trained:
        return ""
    most, least = (choose(trained, key=lambda r: r.steps) for choose in (max, min))
    if most.steps <= UNEQUAL_STEPS * least.steps:
        return ""
    return (
        f"An equal budget is not an equal number of steps: {most.arm.name} took {most.steps:,.0f} "
        f"and {least.arm.name} {least.steps:,.0f}, so that part of what lies between arms may be "
        "the number and size of their steps."
    )


def _not_tuned(study: Study, results: Sequence[ArmResult]) -> str:
    """What was not done for every arm alike."""
    kinds = {result.arm.kind for result in results}
    rate = study.base.optimizer.learning_rate
    parts = [f"No arm was tuned: the learning rate, {rate:g}, was chosen for propositions"]
    if any("learning_rate" in result.arm.overrides.get("optimizer", {}) for result in results):
        parts[0] += " (other ones are named below)"
    if "in_context" in kinds:
        parts.append(
            "in-context answers are compared by their summed log-likelihood as it is, after one "
            "draw of demonstrations a seed"
        )
    if "untrained" in kinds or ("language_only" in kinds and study.base.model.base is not None):
        parts.append(
            f"what was taught no task gets the best of {len(PROMPTS)} prompts, chosen on training "
            "rows"
        )
    return "; ".join(parts) + "."


def _constant(results: Sequence[ArmResult], is_seen: bool) -> float | None:
    """Mean over the seen or the unseen tasks of the best answer without the text."""
    for result in results:
        found = [figure.majority for figure in result.tasks if figure.is_seen == is_seen]
        if found and (result.seen if is_seen else result.unseen):
            return float(np.mean(found))
    return None


def _arms_summary(study: Study, results: Sequence[ArmResult]) -> list[str]:
    return [
        _setting(study),
        *_trained_once([(r.arm.name, r.seeds) for r in results if r.arm.kind not in UNTRAINED]),
        *_seen_summary(results),
        *_unseen_summary(results),
        *_fluency(results),
        *(f"Not done: {r.arm.name}: {'; '.join(r.failures)}." for r in results if r.failures),
    ]


def _seen_summary(results: Sequence[ArmResult]) -> list[str]:
    """The best and the last arm on the seen tasks, and all beside the first one."""
    ranked = sorted((r for r in results if r.seen), key=lambda r: -_value(r.seen))
    constant = _constant(results, True)
    if not ranked or constant is None:
        return []
    best, last, first = ranked[0], ranked[-1], results[0].arm.name
    sentences = [
        f"Seen tasks, mean {score_name(results)}: best {best.arm.name} with {shown(best.seen)}, "
        f"last {last.arm.name} with {shown(last.seen)}; "
        + _beside_constant(constant, [(r.arm.name, r.seen_gain) for r in ranked])
    ]
    for words, listed in (
        ("Significantly better than", [r for r in ranked if _sign(r) > 0]),
        ("Significantly worse than", [r for r in ranked if _sign(r) < 0]),
        ("Not significantly different from", [r for r in ranked if _sign(r) == 0]),
    ):
        listed = [r for r in listed if r.against_first is not None]
        if listed:
            names = ", ".join(f"{r.arm.name} ({shown(r.against_first, sign='+')})" for r in listed)
            sentences.append(f"{words} {first} on the seen tasks: {names}.")
    return sentences


def _unseen_summary(results: Sequence[ArmResult]) -> list[str]:
    """The best arm on tasks of families that are not trained on."""
    ranked = sorted((r for r in results if r.unseen), key=lambda r: -_value(r.unseen))
    constant = _constant(results, False)
    if not ranked or constant is None:
        return []
    return [
        "Tasks of families that are not trained on: best "
        f"{ranked[0].arm.name} with {shown(ranked[0].unseen)}; "
        + _beside_constant(constant, [(r.arm.name, r.unseen_gain) for r in ranked])
    ]


def _beside_constant(constant: float, gains: Sequence[tuple[str, Figure | None]]) -> str:
    """The best answer without the text, and which arms are not shown to be better."""
    words = f"the best answer without the text has {100 * constant:.1f}"
    level = [name for name, gain in gains if gain is None or gain.low <= 0]
    if not level:
        return f"{words}, and every arm is significantly better."
    return f"{words}; not significantly better than that: {', '.join(level)}."


def _fluency(results: Sequence[ArmResult]) -> list[str]:
    """The arms that predict text best and worst."""
    fluent = [r for r in results if r.perplexity]
    if not fluent:
        return []
    least, most = (choose(fluent, key=lambda r: _value(r.perplexity)) for choose in (min, max))
    return [
        f"Perplexity: lowest {least.arm.name} with {shown(least.perplexity, 1, 2)}, highest "
        f"{most.arm.name} with {shown(most.perplexity, 1, 2)}."
    ]


def _value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def _sign(result: ArmResult) -> int:
    """+1 or -1 where an arm differs significantly from the first one, else 0."""
    against = result.against_first
    if against is None or not against.is_off_zero:
        return 0
    return 1 if against.low > 0 else -1


def _setting(study: Study) -> str:
    config, limit = study.config, study.config.evaluate.limit
    rows = "all rows" if limit is None else f"at most {limit:,} rows a task"
    seeds = ", ".join(map(str, config.seeds))
    return (
        f"Budget: {config.budget.words}. Seeds: {seeds}. Measured on {rows} of "
        f"{len(study.tasks.seen)} seen and {len(study.tasks.unseen)} unseen tasks."
    )


def _task_grids(results: Sequence[ArmResult]) -> list[Block]:
    """A table of tasks by arms for seen tasks, and one for unseen ones."""
    blocks: list[Block] = []
    for is_seen, words in ((True, "Tasks that are trained on."), (False, "Unseen families.")):
        figures = [f for r in results for f in r.tasks if f.is_seen == is_seen]
        if not figures:
            continue
        tasks = {figure.task: figure for figure in figures}
        rows = []
        for task, facts in tasks.items():
            by_arm = {r.arm.name: f for r in results for f in r.tasks if f.task == task}
            cells = [
                shown(by_arm[r.arm.name].figure) if r.arm.name in by_arm else "" for r in results
            ]
            about = [f"{task} ({facts.metric})", facts.family, facts.split, f"{facts.n:,}"]
            rows.append([*about, f"{100 * facts.majority:.1f}", *cells])
        head = ["task", "family", "split", "n", "without the text", *(r.arm.name for r in results)]
        blocks += [Paragraph(words), Grid(head, rows)]
    return blocks


# -- families --------------------------------------------------------------------------------------


def families_page(study: Study, results: Sequence[FamilyResult], command: str) -> Page:
    """The page of families left out."""
    metrics = {task.metrics[0] for task in study.tasks.seen}
    name = "accuracy" if metrics == {"accuracy"} else "score"
    page = Page(f"Families left out: {study.config.name}")
    page.add(Bullets(_families_summary(study, results), summary=True))
    page.add(Heading("Families"), families_grid(results), Paragraph(INTERVALS))
    page.add(Plot("families", plots.by_family(results, name), f"{name} by family"))
    noted = [(result.family, result.notes) for result in results]
    page.add(*_notes(noted, _code_notes([(r.family, r.code) for r in results])))
    page.add(*_made_with(study, command))
    return page


def families_grid(results: Sequence[FamilyResult]) -> Grid:
    """The table of families left out: one row a family."""
    head = (
        "family left out", "tasks", "left out", "without the text", "no task taught",
        "left out against no task taught", "taught", "other tasks, without it",
        "other tasks, taught all", "tokens", "seeds", "not done",
    )  # fmt: skip
    rows = [
        (
            result.family,
            ", ".join(result.tasks),
            shown(result.unseen),
            "" if result.majority is None else f"{100 * result.majority:.1f}",
            shown(result.baseline),
            shown(result.gain, sign="+"),
            shown(result.everything),
            shown(result.seen),
            shown(result.seen_everything),
            f"{result.tokens:,.0f}",
            str(result.seeds),
            "; ".join(result.failures),
        )
        for result in results
    ]
    return without_empty_columns(Grid(head, rows))


def _families_summary(study: Study, results: Sequence[FamilyResult]) -> list[str]:
    done = [r for r in results if r.unseen]
    sentences = [_setting(study), *_trained_once([(r.family, r.seeds) for r in results])]
    above = [r.family for r in done if r.over_constant and r.over_constant.low > 0]
    if done:
        sentences.append(
            f"Of {len(done)} families left out, the model does significantly better than the best "
            f"answer without the text on {len(above)}: {', '.join(above) or 'none'}."
        )
    gained = [r.family for r in done if r.gain and r.gain.low > 0]
    if any(r.gain for r in done):
        sentences.append(
            "Significantly better than a model that was taught no task: "
            f"{', '.join(gained) or 'none'}."
        )
    both = [r for r in done if r.everything]
    if both:
        unseen = np.mean([_value(r.unseen) for r in both])
        taught = np.mean([_value(r.everything) for r in both])
        sentences.append(
            f"Mean over families: {100 * unseen:.1f} left out, {100 * taught:.1f} taught."
        )
    sentences += [f"Not done: {r.family}: {'; '.join(r.failures)}." for r in results if r.failures]
    return sentences


# -- both ------------------------------------------------------------------------------------------


def _trained_once(seeds: Sequence[tuple[str, int]]) -> list[str]:
    """What figures of one seed can and cannot say.

    Args:
        seeds: What was trained, and with how many seeds.
    """
    done = [(name, count) for name, count in seeds if count]
    once = [name for name, count in done if count == 1]
    if not once:
        return []
    who = "Everything" if len(once) == len(done) else ", ".join(once)
    return [
        f"{who} was trained once, with one seed: significant says here that other rows of these "
        "tasks would show a difference between these very models too; whether another training run "
        "would, one seed cannot say."
    ]


def _notes(noted: Sequence[tuple[str, Sequence[str]]], common: Sequence[str]) -> list[Block]:
    lines = [*common, *(f"{name}: {note}" for name, notes in noted for note in notes)]
    return [Heading("Notes"), Bullets(lines)] if lines else []


def _code_notes(made: Sequence[tuple[str, list[dict[str, str | None]]]]) -> list[str]:
    """What of the code and libraries was not the same for all that stands side by side.

    Args:
        made: Names, and the versions that trained and measured what they name.
    """
    notes = []
    for what in dict.fromkeys(key for _, code in made for one in code for key in one):
        by_version: dict[str, list[str]] = {}
        for name, code in made:
            for version in dict.fromkeys(one.get(what) or "unknown" for one in code):
                by_version.setdefault(version, []).append(name)
        if len(by_version) > 1:
            listed = "; ".join(
                f"{version} for {'all' if len(names) == len(made) else ', '.join(names)}"
                for version, names in by_version.items()
            )
            different = "commits" if what == "commit" else f"versions of {what}"
            notes.append(f"Trained or measured with different {different}: {listed}")
    return notes


def _made_with(study: Study, command: str) -> list[Block]:
    versions = {name: value for name, value in code_version().items() if value}
    rows = [
        *versions.items(),
        ("python", platform.python_version()),
        ("machine", platform.machine()),
        ("data root", str(study.data_root)),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]
    settings = [study.config.model_dump(mode="json", exclude_none=True)]
    settings.append(study.base.model_dump(mode="json", exclude_none=True))
    texts = [yaml.safe_dump(one, sort_keys=False, width=100) for one in settings]
    return [
        Heading("Made with"),
        Code(command),
        Grid(("what", "value"), rows),
        Paragraph("The comparison:"),
        Code(texts[0]),
        Paragraph("The run that the arms are variants of:"),
        Code(texts[1]),
    ]
