"""Leave one family out: what a model can do on a kind of task that it was never taught.

For each family of the battery one run is trained without its tasks, under the same budget, and is
measured on them, and on the others, beside the run that was trained on everything and beside one
that was taught no task at all.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from freelm.compare import intervals
from freelm.compare.config import Arm
from freelm.compare.intervals import Figure
from freelm.compare.measure import Measured, distinct
from freelm.compare.outcomes import Outcome, attempt
from freelm.compare.runs import arm_run, with_tasks
from freelm.compare.study import Study
from freelm.config import RunConfig
from freelm.errors import ConfigError, suggest
from freelm.eval.exposure import why_seen
from freelm.tasks import default_registry

EVERYTHING, BASELINE = "all_families", "baseline"
"""Names of the two arms beside which families are put, where the configuration has none."""


@dataclass(frozen=True)
class FamilyResult:
    """What leaving a family out came to; every figure is the mean over tasks of their first metric.

    Attributes:
        family: The family.
        tasks: Its measured tasks.
        unseen: On these, by the model that was not taught them.
        majority: On these, by the best answer that ignores the text.
        over_constant: `unseen` minus `majority`, on the same items.
        baseline: On these, by a model that was taught no task.
        everything: On these, by the model that was taught all.
        gain: `unseen` minus `baseline`, on the same items.
        seen: On the other tasks of the battery, by the model that was not taught the family.
        seen_everything: On the same, by the model that was taught all.
        tokens: Trained on.
        seeds: How many were done.
        notes: What must be known to read the figures.
        failures: Seeds that were not done, with the reason.
        code: Versions of the code and libraries that trained and measured.
    """

    family: str
    tasks: list[str]
    unseen: Figure | None
    majority: float | None
    over_constant: Figure | None
    baseline: Figure | None
    everything: Figure | None
    gain: Figure | None
    seen: Figure | None
    seen_everything: Figure | None
    tokens: float
    seeds: int
    notes: list[str]
    failures: list[str]
    code: list[dict[str, str | None]]


def families_of(study: Study, named: Sequence[str]) -> list[str]:
    """The families that are left out: those that were named, or all of the measured battery.

    Raises:
        ConfigError: If one is not in the measured battery, or nothing else is.
    """
    there = list(dict.fromkeys(task.family for task in study.tasks.seen))
    for family in named:
        if family not in there:
            raise ConfigError(
                f"family {family!r} is not in the battery that is measured; "
                f"{suggest(family, there)}"
            )
    if len(there) < 2:
        raise ConfigError(f"the battery is of one family, {there[0]!r}: nothing would be left")
    return list(dict.fromkeys(named)) or there


def leave_out_families(study: Study, families: Sequence[str]) -> list[FamilyResult]:
    """Train without each of some families, and with everything, and measure all.

    Args:
        study: The study; its arms serve as the models beside which families are put, where one of
            the kind that is needed is among them.
        families: Families of the measured battery.
    """
    seeds, whole, bare = study.config.seeds, whole_arm(study), bare_arm(study)
    beside = [
        attempt(f"arm {arm.name}", seeds, partial(study.measure, arm), study.say)
        for arm in (whole, bare)
    ]
    return [_family_result(study, family, whole, *beside) for family in families]


def whole_arm(study: Study) -> Arm:
    """The base run as an arm: trained on everything."""
    return _arm_of(study, study.base.interaction.kind, EVERYTHING)


def bare_arm(study: Study) -> Arm:
    """What was taught no task: the untrained base, or raw text alone where there is no base."""
    kind = "language_only" if study.base.model.base is None else "untrained"
    return _arm_of(study, kind, BASELINE)


def _arm_of(study: Study, kind: str, name: str) -> Arm:
    for arm in study.config.arms:
        if arm.kind == kind and not arm.overrides and arm.language_share is None:
            return arm
    return Arm(name=name, kind=kind)


def run_without(study: Study, family: str, seed: int) -> RunConfig:
    """The base run without the tasks of a family."""
    run = arm_run(whole_arm(study), study.base, seed)
    assert run.teacher is not None
    registry = default_registry()
    kept = [name for name in run.teacher.tasks if registry.get(name).family != family]
    return with_tasks(run, f"without_{family}", kept)


def _family_result(
    study: Study, family: str, whole: Arm, everything: Outcome, baseline: Outcome
) -> FamilyResult:
    def measure(seed: int) -> Measured:
        run = run_without(study, family, seed)
        folder = study.out / "families" / family / f"seed-{seed}"

        def find() -> Measured:
            study.say(f"without {family}, seed {seed}")
            return study.measure_run(run, whole.language_share, study.tasks.seen, folder)

        return study.kept(folder, [run.model_dump(mode="json")], find)

    outcome = attempt(f"without {family}", study.config.seeds, measure, study.say)
    runs = outcome.runs
    own = [task.name for task in study.tasks.seen if task.family == family]
    others = [task.name for task in study.tasks.seen if task.family != family]
    return FamilyResult(
        family,
        own,
        unseen=intervals.score(runs, own),
        majority=intervals.majority(runs, own) if runs else None,
        over_constant=intervals.over_constant(runs, own),
        baseline=intervals.score(baseline.runs, own),
        everything=intervals.score(everything.runs, own),
        gain=intervals.difference(runs, baseline.runs, own),
        seen=intervals.score(runs, others),
        seen_everything=intervals.score(everything.runs, others),
        tokens=sum(run.tokens for run in runs) / max(1, len(runs)),
        seeds=len(runs),
        notes=[*_why_not_unseen(study, family), *outcome.notes],
        failures=[*outcome.failures, *everything.failures, *baseline.failures],
        code=distinct([*outcome.code, *everything.code, *baseline.code]),
    )


def _why_not_unseen(study: Study, family: str) -> list[str]:
    """Tasks of a family that are not unseen without it: another family holds their data."""
    teacher = run_without(study, family, study.config.seeds[0]).teacher
    assert teacher is not None
    registry = default_registry()
    record = {task.name: {"family": task.family} for task in registry.get_all(teacher.tasks)}
    notes = []
    for task in study.tasks.seen:
        reason = why_seen(task, {"tasks": record}, registry) if task.family == family else None
        if reason:
            notes.append(f"{task.name} is not unseen: {reason}")
    return notes


def family_lines(results: Sequence[FamilyResult], budget: str) -> list[dict[str, Any]]:
    """One object for each family."""
    return [{"what": "family", "budget": budget, **asdict(result)} for result in results]
