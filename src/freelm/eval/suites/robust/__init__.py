"""Changed rows and phrasings: how far answers depend on what should not matter.

Every task is asked again in the phrasings that training never saw and with its rows changed
(`perturbations`). Controls take away what an honest answer needs: what is still right then rests on
single words or on the claims alone. The order of the options must change nothing, and the
probabilities of a claim and its opposite should sum to 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from freelm.api import FreeLM
from freelm.eval.items import JudgedRow, predictions
from freelm.eval.measure import (
    Setting,
    figures,
    joined_notes,
    judge_rows,
    measure_each,
    report_rows,
    seen_tasks,
)
from freelm.eval.metrics import METRICS
from freelm.eval.results import PERCENT, Result, average, spread_in_words
from freelm.eval.sections import (
    Block,
    DotPlot,
    Findings,
    Paragraph,
    Point,
    Series,
    count_tasks,
    result_table,
)
from freelm.eval.statistics import (
    SIGNIFICANT,
    bootstrap_p_value,
    holm,
    mcnemar,
    paired_bootstrap,
    percentile_interval,
)
from freelm.eval.suite import Suite, Tasks
from freelm.eval.suites.robust.perturbations import (
    PERTURBATIONS,
    Perturbation,
    shuffled_options,
    with_opposites,
)
from freelm.judge.probabilities import sigmoid
from freelm.tasks import Phrasing, Rows, Task

ROWS = 200
"""Rows per task without --limit: each is judged about 25 times, and what counts is the difference
on the same rows, over many tasks."""

INVARIANT_TO = 1e-3
"""Margins may differ by this much with the order of the options: rounding in fp32."""

NAME = "robust"
ORIGINAL = "original"
"""Variant of the unchanged rows."""
CONTROL = "control"
"""Prefix of the note of a figure that should get worse."""

BETWEEN_LABELS = "the claims of its two labels"
"""Note on which claims count as opposites where the task states none."""

OPTION_ORDER = Perturbation("option-order", shuffled_options, drawn=True)
OPPOSITES = Perturbation("opposites", lambda example, draw: with_opposites(example))


def evaluate_robustness(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """The first metric of each task on unchanged and changed rows; failing tasks are skipped."""
    setting = replace(setting, limit=setting.limit or ROWS)

    def measure(task: Task) -> list[Result]:
        return _TaskRobustness(model, task, setting).measure()

    return measure_each(tasks or seen_tasks(model, setting), measure, setting)


@dataclass(frozen=True)
class _Change:
    """A task's first metric after a change of its rows, compared with the unchanged rows.

    Attributes:
        result: The figure.
        interval: 95% interval of the difference, by paired bootstrap.
        p: p-value of no difference.
        control: Whether the figure should get worse.
    """

    result: Result
    interval: tuple[float, float]
    p: float
    control: bool

    def noted(self, p_corrected: float) -> Result:
        """The figure with a note on its difference."""
        scale, digits, unit = (100, 1, " points") if self.result.metric in PERCENT else (1, 3, "")
        low, high = (f"{scale * end:+.{digits}f}" for end in self.interval)
        moved = "a significant change" if p_corrected < SIGNIFICANT else "no significant change"
        note = f"{CONTROL}; {moved}" if self.control else moved
        note += f" ({low} to {high}{unit}, p {p_corrected:.2g})"
        return replace(self.result, note=joined_notes(note, self.result.note))


class _TaskRobustness:
    """The measurements of one task."""

    def __init__(self, model: FreeLM, task: Task, setting: Setting) -> None:
        self.model, self.task, self.setting = model, task, setting
        self.rows: Rows = report_rows(task, setting.data_root)
        self.phrasing: Phrasing = task.training_phrasings[0]
        self.examples, self.original = judge_rows(model, self.rows, self.phrasing, setting)

    def measure(self) -> list[Result]:
        """All figures of the task; p-values of its changes are corrected for their number."""
        changes = [self._rephrased(phrasing) for phrasing in self.task.held_out_phrasings]
        changes += [self._perturbed(p) for p in PERTURBATIONS if p.applies(self.task)]
        corrected = holm([change.p for change in changes])
        results = [self._figure(self.original, ORIGINAL)]
        results += [change.noted(p) for change, p in zip(changes, corrected, strict=True)]
        if self.task.question in ("choice", "options"):
            results += self._option_order()
        return results + self._opposites()

    def _judge(self, perturbation: Perturbation, seed: int, phrasing: Phrasing) -> list[JudgedRow]:
        name = f"{perturbation.name}-seed-{seed}" if perturbation.drawn else perturbation.name
        _, items = judge_rows(
            self.model, self.rows, phrasing, self.setting, name, lambda e: perturbation(e, seed)
        )
        return items

    def _figure(self, items: Sequence[JudgedRow], variant: str) -> Result:
        metric = self.task.metrics[0]
        num_labels = len(self.examples[0].labels)
        return figures(self.rows, items, num_labels, NAME, variant, only=metric)[0]

    def _rephrased(self, phrasing: Phrasing) -> _Change:
        _, items = judge_rows(self.model, self.rows, phrasing, self.setting)
        return self._compared(self._figure(items, f"held-out phrasing {phrasing.name}"), items)

    def _perturbed(self, perturbation: Perturbation) -> _Change:
        seeds = range(self.setting.seeds if perturbation.drawn else 1)
        judged = [self._judge(perturbation, seed, self.phrasing) for seed in seeds]
        runs = [[self._figure(items, perturbation.name)] for items in judged]
        return self._compared(average(runs)[0], judged[0], perturbation.control)

    def _compared(
        self, result: Result, items: Sequence[JudgedRow], control: bool = False
    ) -> _Change:
        """A figure and its difference from the unchanged rows, of the first seed."""
        metric = METRICS[result.metric]
        changed, original = (
            predictions(self.task, answers)[result.metric] for answers in (items, self.original)
        )
        differences = paired_bootstrap(changed, original, metric)
        if result.metric == "accuracy":
            p = mcnemar(changed.is_right, original.is_right)
        else:
            p = bootstrap_p_value(differences, metric(changed) - metric(original))
        return _Change(result, percentile_interval(differences), p, control)

    def _option_order(self) -> list[Result]:
        """What the order of the options changes, which must be nothing."""
        flips, differences = [], []
        for seed in range(self.setting.seeds):
            items = self._judge(OPTION_ORDER, seed, self.phrasing)
            for example, before, after in zip(self.examples, self.original, items, strict=True):
                shuffled = OPTION_ORDER(example, seed)
                order = [shuffled.claims.index(claim) for claim in example.claims]
                own, back = np.array(before.margins), np.array(after.margins)[order]
                differences.append(float(np.abs(own - back).max()))
                flips.append(float(own.argmax() != back.argmax()))
        largest = max(differences)
        if largest > INVARIANT_TO:
            self.setting.say(
                f"{self.task.name}: the order of the options changes a margin by {largest:.2g}; "
                "it should change nothing"
            )
        return [
            self._plain("flipped", float(np.mean(flips)), OPTION_ORDER.name),
            self._plain("largest_margin_difference", largest, OPTION_ORDER.name),
        ]

    def _opposites(self) -> list[Result]:
        """How far P(claim) + P(opposite) is from 1, and how often both get the same verdict."""
        phrasing = next(
            (p for p in self.task.training_phrasings if p.opposites or p.opposite_template), None
        )
        if phrasing is not None:
            items = self._judge(OPPOSITES, 0, phrasing)
            pairs = [pair for item in items for pair in zip(*_halves(item), strict=True)]
            note = None
        elif self._has_two_labels():
            pairs = [(item.margins[0], item.margins[1]) for item in self.original]
            note = BETWEEN_LABELS
        else:
            return []
        probabilities = sigmoid(pairs)
        gap = np.abs(probabilities.sum(axis=1) - 1.0)
        agree = (probabilities[:, 0] >= 0.5) == (probabilities[:, 1] >= 0.5)
        return [
            self._plain("opposite_gap", float(gap.mean()), OPPOSITES.name, note),
            self._plain("disagreement", float(agree.mean()), OPPOSITES.name, note),
        ]

    def _has_two_labels(self) -> bool:
        """Whether the claims of a row are each other's opposites; levels and options are not."""
        return self.task.question in ("predicate", "choice") and len(self.task.label.ids) == 2

    def _plain(self, metric: str, value: float, variant: str, note: str | None = None) -> Result:
        task = self.task
        return Result(
            task.name, task.family, self.rows.split, metric, value, len(self.original),
            None, None, None, NAME, variant, note=note,
        )  # fmt: skip


def _halves(item: JudgedRow) -> tuple[list[float], list[float]]:
    """The margins of the claims and those of their opposites."""
    middle = len(item.margins) // 2
    return item.margins[:middle], item.margins[middle:]


# -- report ----------------------------------------------------------------------------------------


def _section(findings: Findings) -> list[Block]:
    results = findings.of(NAME)
    firsts = {r.task: r.metric for r in results if r.variant == ORIGINAL}
    drawn = [r for r in results if r.metric == firsts.get(r.task) and r.metric in PERCENT]
    models = findings.num_models
    spread = spread_in_words(models) if models > 1 else "mean ± standard deviation over the draws"
    text = (
        f"Each task's first metric after a change of its rows, {max(r.n for r in results):,} rows "
        f"at most. ±: {spread}; the last column is of the first of them: a 95% interval of the "
        "difference, and a p-value (McNemar's test for accuracy, bootstrap for other metrics) "
        "corrected by Holm's method for all changes of the task. Controls take away what an honest "
        "answer needs and should get worse. The order of the options must change "
        "nothing; the probabilities of a claim and its opposite should sum to 1."
    )
    plot = _plot(drawn)
    columns = ("task", "rows", "metric", "value", "95% interval", "n")
    table = result_table(results, columns, "compared with the unchanged rows")
    return [Paragraph(text), *([plot] if plot.rows else []), table]


def _plot(results: Sequence[Result]) -> DotPlot:
    original = {r.task: r.value for r in results if r.variant == ORIGINAL}
    changed = [r for r in results if r.variant != ORIGINAL]
    rows = list(dict.fromkeys(str(r.variant) for r in changed))
    points: dict[str, list[Point]] = {task: [] for task in original}
    for r in changed:
        difference = 100 * (r.value - original[r.task])
        points[r.task].append(Point(rows.index(str(r.variant)), difference))
    return DotPlot(
        "robustness",
        "Change of the first metric by kind of change",
        rows,
        [Series(task, own) for task, own in points.items()],
        "points compared with the unchanged rows",
        line=0.0,
    )


def _summary(findings: Findings) -> list[str]:
    own = findings.of(NAME)
    original = {r.task: r for r in own if r.variant == ORIGINAL and r.metric in PERCENT}
    if not original:
        return []
    changed = [r for r in own if _is_change(r, original)]
    controls = {_change(r) for r in changed if r.note and r.note.startswith(CONTROL)}
    moved = {
        name: _moved([r for r in changed if _change(r) == name], original)
        for name in dict.fromkeys(map(_change, changed))
    }
    sentences = []
    harmless = {n: float(np.mean([*d.values()])) for n, d in moved.items() if n not in controls}
    if harmless:
        worst = min(harmless, key=harmless.__getitem__)
        sentences.append(
            f"Of the changes that keep the meaning, {worst} costs most: "
            f"{_points(harmless[worst])} on average over {count_tasks(len(moved[worst]))}, at most "
            f"{max(r.n for r in original.values()):,} rows of each."
        )
    if "words-shuffled" in moved:
        sentences.append(_shuffled(moved["words-shuffled"], original))
    sentences += _disagreement(own)
    flipped = [r.value for r in own if r.metric == "flipped"]
    if flipped and max(flipped) > 0:
        sentences.append(
            f"The order of the options changes up to {100 * max(flipped):.1f}% of the answers."
        )
    return sentences


def _is_change(result: Result, original: Mapping[str, Result]) -> bool:
    """Whether a figure is the first metric of its task on changed rows."""
    unchanged = original.get(result.task)
    return (
        unchanged is not None
        and result.metric == unchanged.metric
        and result.variant != unchanged.variant
    )


def _change(result: Result) -> str:
    """Name of a change; all held-out phrasings are one."""
    name, _, phrasing = str(result.variant).partition(" phrasing ")
    return f"a {name} phrasing" if phrasing else name


def _moved(changed: Sequence[Result], original: Mapping[str, Result]) -> dict[str, float]:
    """Task -> mean difference from its unchanged rows."""
    differences: dict[str, list[float]] = {}
    for r in changed:
        differences.setdefault(r.task, []).append(r.value - original[r.task].value)
    return {task: float(np.mean(values)) for task, values in differences.items()}


def _shuffled(moved: Mapping[str, float], original: Mapping[str, Result]) -> str:
    moves = float(np.mean([*moved.values()]))
    value = float(np.mean([original[task].value for task in moved]))
    constant = float(np.mean([original[task].majority or 0.0 for task in moved]))
    return (
        f"With the words of the text in random order: {_points(moves)}, from a mean of "
        f"{100 * value:.1f} to {100 * (value + moves):.1f}. The best answer that ignores the text "
        f"reaches {100 * constant:.1f}; what lies above that rests on single words."
    )


def _disagreement(results: Sequence[Result]) -> list[str]:
    same = [r for r in results if r.metric == "disagreement"]
    if not same:
        return []
    worst = max(same, key=lambda r: r.value)
    mean = 100 * float(np.mean([r.value for r in same]))
    return [
        f"A claim and its opposite are both judged true, or both false, {mean:.1f}% of the time "
        f"({count_tasks(len(same))}; at worst {100 * worst.value:.1f}%, {worst.task})."
    ]


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"  # + 0.0 turns -0.0 into 0.0


SUITE = Suite(
    name=NAME,
    title="Robustness",
    measure=evaluate_robustness,
    section=_section,
    summary=_summary,
    order=40,
)
