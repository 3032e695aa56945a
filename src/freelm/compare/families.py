"""Leave one family out: how well a model does on a kind of task that it was never taught.

For each family of the battery, one run is trained without its tasks, under the same budget, and
compared on them with a run on everything and with a model that was taught no task.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from freelm.compare import intervals
from freelm.compare.config import Arm
from freelm.compare.intervals import Estimate
from freelm.compare.measure import SeedResult, Versions, unique
from freelm.compare.outcomes import SeedRuns, run_seeds
from freelm.compare.runs import arm_config, restrict_tasks
from freelm.compare.study import Study
from freelm.config import RunConfig
from freelm.errors import ConfigError, suggest
from freelm.eval.exposure import why_seen
from freelm.tasks import default_registry

EVERYTHING, BASELINE = "all_families", "baseline"
"""Names of the two reference arms, if the configuration has no suitable ones."""


@dataclass(frozen=True)
class FamilyResult:
    """The result of leaving a family out; all scores are means over tasks of their first metric.

    Attributes:
        family: The family.
        tasks: Its measured tasks.
        unseen: Score on them of the model that was not taught them.
        majority: Of the best answer that ignores the text.
        over_constant: `unseen` minus `majority`, on the same items.
        baseline: Of a model that was taught no task.
        everything: Of the model that was taught all tasks.
        gain: `unseen` minus `baseline`, on the same items.
        seen: Score on the other tasks of the model that was not taught the family.
        seen_everything: Score on the other tasks of the model that was taught all.
        tokens: Tokens trained on.
        seeds: Number of seeds that succeeded.
        notes: Caveats for the reader.
        failures: Seeds that failed, with the reason.
        code: Versions of the code and libraries that trained and measured.
    """

    family: str
    tasks: list[str]
    unseen: Estimate | None
    majority: float | None
    over_constant: Estimate | None
    baseline: Estimate | None
    everything: Estimate | None
    gain: Estimate | None
    seen: Estimate | None
    seen_everything: Estimate | None
    tokens: float
    seeds: int
    notes: list[str]
    failures: list[str]
    code: list[Versions]


def select_families(study: Study, requested: Sequence[str]) -> list[str]:
    """The families to leave out: the requested ones, or all of the measured battery.

    Raises:
        ConfigError: If one is not in the measured battery, or the battery has only one family.
    """
    known = list(dict.fromkeys(task.family for task in study.tasks.seen))
    for family in requested:
        if family not in known:
            raise ConfigError(
                f"family {family!r} is not in the battery that is measured; "
                f"{suggest(family, known)}"
            )
    if len(known) < 2:
        raise ConfigError(f"the battery has one family, {known[0]!r}: nothing would be left")
    return list(dict.fromkeys(requested)) or known


def leave_out_families(study: Study, families: Sequence[str]) -> list[FamilyResult]:
    """Train without each of some families, and with everything, and measure all.

    Args:
        study: The study; suitable arms of its configuration serve as references.
        families: Families of the measured battery.
    """
    # What was taught no task: the untrained base, or raw text alone if there is no base.
    kind = "language_only" if study.base.model.base is None else "untrained"
    taught = taught_arm(study)
    references = [
        run_seeds(f"arm {arm.name}", study.config.seeds, partial(study.measure, arm), study.say)
        for arm in (taught, _find_arm(study, kind, BASELINE))
    ]
    return [_family_result(study, family, taught, *references) for family in families]


def taught_arm(study: Study) -> Arm:
    """The base run as an arm: trained on everything."""
    return _find_arm(study, study.base.interaction.kind, EVERYTHING)


def _find_arm(study: Study, kind: str, name: str) -> Arm:
    for arm in study.config.arms:
        if arm.kind == kind and not arm.overrides and arm.language_share is None:
            return arm
    return Arm(name=name, kind=kind)


def run_without(study: Study, family: str, seed: int) -> RunConfig:
    """The base run without the tasks of a family."""
    run = arm_config(taught_arm(study), study.base, seed)
    assert run.teacher is not None
    registry = default_registry()
    tasks = [name for name in run.teacher.tasks if registry.get(name).family != family]
    return restrict_tasks(run, f"without_{family}", tasks)


def _family_result(
    study: Study, family: str, taught: Arm, everything: SeedRuns, baseline: SeedRuns
) -> FamilyResult:
    def measure(seed: int) -> SeedResult:
        run = run_without(study, family, seed)
        folder = study.out / "families" / family / f"seed-{seed}"

        def compute() -> SeedResult:
            study.say(f"without {family}, seed {seed}")
            return study.measure_run(run, taught.language_share, study.tasks.seen, folder)

        return study.cached(folder, [run.model_dump(mode="json")], compute)

    outcome = run_seeds(f"without {family}", study.config.seeds, measure, study.say)
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
        tokens=outcome.mean("tokens"),
        seeds=len(runs),
        notes=[*_exposure_notes(study, family), *outcome.notes],
        failures=[*outcome.failures, *everything.failures, *baseline.failures],
        code=unique([*outcome.code, *everything.code, *baseline.code]),
    )


def _exposure_notes(study: Study, family: str) -> list[str]:
    """Tasks of a family that are not unseen without it, because another family has their data."""
    teacher = run_without(study, family, study.config.seeds[0]).teacher
    assert teacher is not None
    registry = default_registry()
    record = {task.name: {"family": task.family} for task in registry.get_all(teacher.tasks)}
    reasons = {
        task.name: why_seen(task, {"tasks": record}, registry)
        for task in study.tasks.seen
        if task.family == family
    }
    return [f"{name} is not unseen: {reason}" for name, reason in reasons.items() if reason]


def family_lines(results: Sequence[FamilyResult], budget: str) -> list[dict[str, Any]]:
    """As JSON: one object per family."""
    return [{"what": "family", "budget": budget, **asdict(result)} for result in results]
