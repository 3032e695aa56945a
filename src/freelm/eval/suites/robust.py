"""The robust suite: how far answers depend on what should not matter, and on too little.

Every task is asked again in the phrasings that training never saw and with its rows changed
(`freelm.eval.perturbations`). Controls take away what an honest answer needs: what is still right
then rests on single words or on the claims alone. The order of the options must change nothing, and
a claim and its opposite should share one unit of probability.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from freelm.api import FreeLM
from freelm.eval.items import Item, predictions
from freelm.eval.measure import (
    Setting,
    each_task,
    figures,
    joined_notes,
    judge_rows,
    report_rows,
)
from freelm.eval.paired import paired_bootstrap
from freelm.eval.perturbations import PERTURBATIONS, Perturbation, shuffled_options, with_opposites
from freelm.eval.results import PERCENT, Result, average
from freelm.tasks import Phrasing, Rows, Task

ROWS = 200
"""Rows per task where no limit is given: each is judged some twenty-five times, and what counts is
the difference on the same rows, over many tasks."""

INVARIANT_TO = 1e-3
"""Margins may differ by this much with the order of the options: rounding in fp32."""

SUITE = "robust"
CONTROL = "control"
"""Begins the note of a figure that should get worse."""

BETWEEN_LABELS = "the claims of its two labels"
"""Notes which claims are taken for opposites where the task states none."""

OPTION_ORDER = Perturbation("option-order", shuffled_options, drawn=True)
OPPOSITES = Perturbation("opposites", lambda example, draw: with_opposites(example))


def evaluate_robustness(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Result]:
    """The first metric of each task on unchanged and changed rows.

    A task that cannot be done is told of and left out; the others are done.
    """
    setting = replace(setting, limit=setting.limit or ROWS)

    def measure(task: Task) -> list[Result]:
        return _TaskRobustness(model, task, setting).measure()

    return [result for found in each_task(tasks, measure, setting.say) for result in found]


class _TaskRobustness:
    """One task, judged again and again."""

    def __init__(self, model: FreeLM, task: Task, setting: Setting) -> None:
        self.model, self.task, self.setting = model, task, setting
        self.rows: Rows = report_rows(task, setting.data_root)
        self.phrasing: Phrasing = task.training_phrasings[0]
        self.examples, self.original = judge_rows(model, self.rows, self.phrasing, setting)

    def measure(self) -> list[Result]:
        """All figures of the task."""
        results = [self._figure(self.original, "original")]
        for phrasing in self.task.held_out_phrasings:
            _, items = judge_rows(self.model, self.rows, phrasing, self.setting)
            name = f"held-out phrasing {phrasing.name}"
            results.append(self._compared(self._figure(items, name), items))
        for perturbation in PERTURBATIONS:
            if perturbation.applies(self.task):
                results.append(self._perturbed(perturbation))
        if self.task.question in ("choice", "options"):
            results += self._option_order()
        return results + self._opposites()

    def _judge(self, perturbation: Perturbation, seed: int, phrasing: Phrasing) -> list[Item]:
        name = f"{perturbation.name}-seed-{seed}" if perturbation.drawn else perturbation.name
        _, items = judge_rows(
            self.model, self.rows, phrasing, self.setting, name, lambda e: perturbation(e, seed)
        )
        return items

    def _figure(self, items: Sequence[Item], variant: str) -> Result:
        metric = self.task.metrics[0]
        num_labels = len(self.examples[0].labels)
        return figures(self.rows, items, num_labels, SUITE, variant, only=metric)[0]

    def _perturbed(self, perturbation: Perturbation) -> Result:
        seeds = range(self.setting.seeds if perturbation.drawn else 1)
        judged = [self._judge(perturbation, seed, self.phrasing) for seed in seeds]
        runs = [[self._figure(items, perturbation.name)] for items in judged]
        return self._compared(average(runs)[0], judged[0], perturbation.control)

    def _compared(self, result: Result, items: Sequence[Item], control: bool = False) -> Result:
        """A figure with a note on its difference from the unchanged rows (of the first seed)."""
        changed, original = (
            predictions(self.task, answers)[result.metric] for answers in (items, self.original)
        )
        low, high = paired_bootstrap(changed, original, result.metric)
        moved = "no significant change" if low <= 0 <= high else "a significant change"
        kind = f"{CONTROL}; " if control else ""
        scale, digits, unit = (100, 1, " points") if result.metric in PERCENT else (1, 3, "")
        span = f"{scale * low:+.{digits}f} to {scale * high:+.{digits}f}{unit}"
        return replace(result, note=joined_notes(f"{kind}{moved} ({span})", result.note))

    def _option_order(self) -> list[Result]:
        """What the order of the options changes; it must be nothing."""
        flips, differences = [], []
        for seed in range(self.setting.seeds):
            items = self._judge(OPTION_ORDER, seed, self.phrasing)
            for example, before, after in zip(self.examples, self.original, items, strict=True):
                shuffled = OPTION_ORDER(example, seed)
                place = [shuffled.claims.index(claim) for claim in example.claims]
                own, back = np.array(before.margins), np.array(after.margins)[place]
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
        """How far P(claim) + P(opposite) is from 1, and how often both are held true or false."""
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
        probabilities = 0.5 * (1.0 + np.tanh(0.5 * np.array(pairs)))
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
            None, None, None, SUITE, variant, note=note,
        )  # fmt: skip


def _halves(item: Item) -> tuple[list[float], list[float]]:
    """The margins of the claims and those of their opposites."""
    middle = len(item.margins) // 2
    return item.margins[:middle], item.margins[middle:]
