"""What arms came to: each is tried with every seed, and one that fails costs the others nothing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from freelm.compare import intervals
from freelm.compare.config import Arm
from freelm.compare.intervals import Figure
from freelm.compare.measure import Measured, distinct
from freelm.compare.study import Study
from freelm.errors import FreeLMError, first_line


@dataclass
class Outcome:
    """What the seeds of one thing came to.

    Attributes:
        runs: Those that were done.
        failures: Why others were not, in words.
    """

    runs: list[Measured] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What must be known to read the figures, each note once, and what failed."""
        noted = dict.fromkeys(note for run in self.runs for note in run.notes)
        return [*noted, *(f"failed: {reason}" for reason in self.failures)]

    @property
    def code(self) -> list[dict[str, str | None]]:
        """Versions of the code and libraries that trained and measured, each once."""
        return distinct([versions for run in self.runs for versions in run.code])


def attempt(
    name: str, seeds: Sequence[int], measure: Callable[[int], Measured], say: Callable[[str], None]
) -> Outcome:
    """Measure something with every seed, whatever becomes of one.

    Args:
        name: For messages.
        seeds: The seeds.
        measure: Seed -> what it comes to.
        say: Told what failed.
    """
    outcome = Outcome()
    for seed in seeds:
        try:
            outcome.runs.append(measure(seed))
        except FreeLMError as error:
            outcome.failures.append(f"seed {seed}: {error}")
        except Exception as error:  # whatever it is, the other arms are to be done
            outcome.failures.append(f"seed {seed}: {type(error).__name__}: {first_line(error)}")
        else:
            continue
        say(f"{name}: failed: {outcome.failures[-1]}")
    return outcome


@dataclass(frozen=True)
class TaskFigure:
    """An arm's figure of one task."""

    task: str
    family: str
    split: str
    metric: str
    figure: Figure
    majority: float
    n: int
    is_seen: bool


@dataclass(frozen=True)
class ArmResult:
    """What an arm came to.

    Attributes:
        arm: The arm.
        seen: Mean over the tasks of the battery of each one's first metric.
        unseen: The same over tasks of families that are not trained on.
        against_first: How far `seen` lies above the first arm's, on the same items.
        seen_gain: How far `seen` lies above the best answer that ignores the text, likewise.
        unseen_gain: How far `unseen` does.
        perplexity: Of the text.
        bits_per_byte: Of the text.
        tasks: Task by task.
        language_tokens: Trained on, the mean over seeds, like all that follow.
        teacher_tokens: Trained on.
        seconds: In optimizer steps.
        steps: Optimizer steps.
        seeds: How many were done.
        notes: What must be known to read the figures.
        failures: Seeds that were not done, with the reason.
        code: Versions of the code and libraries that trained and measured.
    """

    arm: Arm
    seen: Figure | None
    unseen: Figure | None
    against_first: Figure | None
    seen_gain: Figure | None
    unseen_gain: Figure | None
    perplexity: Figure | None
    bits_per_byte: Figure | None
    tasks: list[TaskFigure]
    language_tokens: float
    teacher_tokens: float
    seconds: float
    steps: float
    seeds: int
    notes: list[str]
    failures: list[str]
    code: list[dict[str, str | None]]

    @property
    def tokens(self) -> float:
        """Tokens trained on."""
        return self.language_tokens + self.teacher_tokens


def compare_arms(study: Study) -> list[ArmResult]:
    """Train and measure all arms of a study, in the order of its configuration.

    What another arm asks (the model that learns in context) is trained when it is needed.
    """
    seeds = study.config.seeds
    outcomes = [
        attempt(f"arm {arm.name}", seeds, partial(study.measure, arm), study.say)
        for arm in study.config.arms
    ]
    first = outcomes[0].runs
    return [
        _arm_result(study, arm, outcome, [] if place == 0 else first)
        for place, (arm, outcome) in enumerate(zip(study.config.arms, outcomes, strict=True))
    ]


def _arm_result(study: Study, arm: Arm, outcome: Outcome, first: Sequence[Measured]) -> ArmResult:
    runs = outcome.runs
    seen = [task.name for task in study.tasks.seen]
    unseen = [task.name for task in study.tasks.unseen]

    def mean(name: str) -> float:
        return float(sum(getattr(run, name) for run in runs) / max(1, len(runs)))

    return ArmResult(
        arm,
        seen=intervals.score(runs, seen),
        unseen=intervals.score(runs, unseen),
        against_first=intervals.difference(runs, first, seen),
        seen_gain=intervals.over_constant(runs, seen),
        unseen_gain=intervals.over_constant(runs, unseen),
        perplexity=intervals.perplexity(runs),
        bits_per_byte=intervals.bits_per_byte(runs),
        tasks=_task_figures(runs, set(seen)),
        language_tokens=mean("language_tokens"),
        teacher_tokens=mean("teacher_tokens"),
        seconds=mean("seconds"),
        steps=mean("steps"),
        seeds=len(runs),
        notes=outcome.notes,
        failures=outcome.failures,
        code=outcome.code,
    )


def _task_figures(runs: Sequence[Measured], seen: set[str]) -> list[TaskFigure]:
    figures = []
    for answers in runs[0].tasks if runs else []:
        figure = intervals.score(runs, [answers.task])
        if figure is not None:
            figures.append(
                TaskFigure(
                    answers.task, answers.family, answers.split, answers.metric, figure,
                    answers.majority, len(answers), answers.task in seen,
                )
            )  # fmt: skip
    return figures


def score_name(results: Sequence[ArmResult]) -> str:
    """What a mean over tasks is a mean of."""
    metrics = {figure.metric for result in results for figure in result.tasks}
    return "accuracy" if metrics == {"accuracy"} else "score"


# -- as JSON ---------------------------------------------------------------------------------------


def arm_lines(results: Sequence[ArmResult], budget: str) -> list[dict[str, Any]]:
    """One object for each arm, followed by one for each of its tasks."""
    lines = []
    for result in results:
        facts = {k: v for k, v in asdict(result).items() if k not in ("arm", "tasks")}
        arm = {"arm": result.arm.name, "kind": result.arm.kind}
        lines.append({"what": "arm", **arm, "tokens": result.tokens, "budget": budget, **facts})
        for figure in result.tasks:
            own = asdict(figure)
            lines.append({"what": "task", **arm, **own.pop("figure"), **own})
    return lines


def write_lines(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Write objects as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
