"""Results of arms over all seeds; an arm that fails does not affect the others."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from freelm.compare import intervals
from freelm.compare.config import Arm
from freelm.compare.intervals import Estimate
from freelm.compare.measure import SeedResult, TaskAnswers, Versions, unique
from freelm.compare.study import Study
from freelm.errors import FreeLMError, first_line


@dataclass
class SeedRuns:
    """Results of several seeds of one thing.

    Attributes:
        runs: Those that succeeded.
        failures: Why others did not.
    """

    runs: list[SeedResult] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Caveats, each once, and failures."""
        notes = dict.fromkeys(note for run in self.runs for note in run.notes)
        return [*notes, *(f"failed: {reason}" for reason in self.failures)]

    @property
    def code(self) -> list[Versions]:
        """Versions of the code and libraries that trained and measured."""
        return unique([versions for run in self.runs for versions in run.code])

    def mean(self, name: str) -> float:
        """Mean of an attribute over seeds; 0 if all failed."""
        return float(sum(getattr(run, name) for run in self.runs) / max(1, len(self.runs)))


def run_seeds(
    name: str,
    seeds: Sequence[int],
    measure: Callable[[int], SeedResult],
    say: Callable[[str], None],
) -> SeedRuns:
    """Measure something with every seed; a failure is recorded and the next seed is tried.

    Args:
        name: For messages.
        seeds: The seeds.
        measure: Seed -> result.
        say: Receives a message about each failure.
    """
    outcome = SeedRuns()
    for seed in seeds:
        try:
            outcome.runs.append(measure(seed))
        except FreeLMError as error:
            outcome.failures.append(f"seed {seed}: {error}")
        except Exception as error:  # of any kind: the other arms must still be measured
            outcome.failures.append(f"seed {seed}: {type(error).__name__}: {first_line(error)}")
        else:
            continue
        say(f"{name}: failed: {outcome.failures[-1]}")
    return outcome


@dataclass(frozen=True)
class TaskEstimate:
    """An arm's score on one task."""

    task: str
    family: str
    split: str
    metric: str
    estimate: Estimate
    majority: float
    n: int
    is_seen: bool


@dataclass(frozen=True)
class ArmResult:
    """The result of an arm.

    Attributes:
        arm: The arm.
        seen: Mean over the tasks of the battery of each one's first metric.
        held_out: The same in phrasings that are never trained.
        unseen: The same over tasks of families that are not trained on.
        against_first: `seen` minus that of the first arm, on the same items.
        seen_gain: `seen` minus that of the best answer that ignores the text, on the same items.
        unseen_gain: The same for `unseen`.
        perplexity: Of the text.
        bits_per_byte: Of the text.
        tasks: Task by task.
        language_tokens: Trained on; mean over seeds, like the next three.
        teacher_tokens: Trained on.
        seconds: Time in optimizer steps.
        steps: Optimizer steps.
        seeds: Number of seeds that succeeded.
        notes: Caveats for the reader.
        failures: Seeds that failed, with the reason.
        code: Versions of the code and libraries that trained and measured.
    """

    arm: Arm
    seen: Estimate | None
    held_out: Estimate | None
    unseen: Estimate | None
    against_first: Estimate | None
    seen_gain: Estimate | None
    unseen_gain: Estimate | None
    perplexity: Estimate | None
    bits_per_byte: Estimate | None
    tasks: list[TaskEstimate]
    language_tokens: float
    teacher_tokens: float
    seconds: float
    steps: float
    seeds: int
    notes: list[str]
    failures: list[str]
    code: list[Versions]

    @property
    def tokens(self) -> float:
        """Tokens trained on."""
        return self.language_tokens + self.teacher_tokens


def compare_arms(study: Study) -> list[ArmResult]:
    """Train and measure all arms of a study, in the order of its configuration."""
    outcomes = [
        run_seeds(f"arm {arm.name}", study.config.seeds, partial(study.measure, arm), study.say)
        for arm in study.config.arms
    ]
    first = outcomes[0].runs
    return [
        _arm_result(study, arm, outcome, [] if place == 0 else first)
        for place, (arm, outcome) in enumerate(zip(study.config.arms, outcomes, strict=True))
    ]


def _arm_result(
    study: Study, arm: Arm, outcome: SeedRuns, first: Sequence[SeedResult]
) -> ArmResult:
    runs = outcome.runs
    seen = [task.name for task in study.tasks.seen]
    unseen = [task.name for task in study.tasks.unseen]
    held_out = [replace(run, tasks=run.held_out) for run in runs]
    rephrased = [answers.task for answers in held_out[0].tasks] if held_out else []
    return ArmResult(
        arm,
        seen=intervals.score(runs, seen),
        held_out=intervals.score(held_out, rephrased),
        unseen=intervals.score(runs, unseen),
        against_first=intervals.difference(runs, first, seen),
        seen_gain=intervals.over_constant(runs, seen),
        unseen_gain=intervals.over_constant(runs, unseen),
        perplexity=intervals.perplexity(runs),
        bits_per_byte=intervals.bits_per_byte(runs),
        tasks=[_task_estimate(runs, answers, seen) for answers in (runs[0].tasks if runs else [])],
        language_tokens=outcome.mean("language_tokens"),
        teacher_tokens=outcome.mean("teacher_tokens"),
        seconds=outcome.mean("seconds"),
        steps=outcome.mean("steps"),
        seeds=len(runs),
        notes=outcome.notes,
        failures=outcome.failures,
        code=outcome.code,
    )


def _task_estimate(
    runs: Sequence[SeedResult], answers: TaskAnswers, seen: Sequence[str]
) -> TaskEstimate:
    estimate = intervals.score(runs, [answers.task])
    assert estimate is not None  # every seed answers the same tasks
    return TaskEstimate(
        answers.task, answers.family, answers.split, answers.metric, estimate,
        answers.majority, len(answers), answers.task in seen,
    )  # fmt: skip


def score_name(results: Sequence[ArmResult]) -> str:
    """What a mean over tasks is a mean of."""
    metrics = {task.metric for result in results for task in result.tasks}
    return "accuracy" if metrics == {"accuracy"} else "score"


def arm_lines(results: Sequence[ArmResult], budget: str) -> list[dict[str, Any]]:
    """As JSON: one object per arm, each followed by one per task."""
    lines = []
    for result in results:
        facts = {k: v for k, v in asdict(result).items() if k not in ("arm", "tasks")}
        arm = {"arm": result.arm.name, "kind": result.arm.kind}
        lines.append({"what": "arm", **arm, "tokens": result.tokens, "budget": budget, **facts})
        for task in result.tasks:
            own = asdict(task)
            lines.append({"what": "task", **arm, **own.pop("estimate"), **own})
    return lines


def as_jsonl(lines: Sequence[Mapping[str, Any]]) -> str:
    """Objects as JSON lines."""
    return "".join(json.dumps(line) + "\n" for line in lines)
