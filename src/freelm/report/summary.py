"""The first screen of a report: how good the model is, and at what it is bad."""

from collections.abc import Callable, Mapping, Sequence

from freelm.eval.comparison import Comparison
from freelm.eval.exposure import TRAINED_ON
from freelm.eval.references import (
    SAMPLE,
    Mean,
    Reference,
    is_other_setting,
    means,
    published_means,
    same_measurement,
    standing,
)
from freelm.eval.sections import MAX_NAMED, Findings
from freelm.eval.suite import report_suites

HEADLINE = {
    "GPT-3 175B": ("zero-shot", "few-shot"),
    "GPT-2 124M": ("fine-tuned",),
    "BERT-base-cased": ("fine-tuned",),
    "T0-3B": ("held-out",),
}
"""Published models on the first screen -> their settings there; the tables have all."""

WasTaught = Callable[[str], bool]
"""Whether the model was trained on the training split of a task."""


def summary(findings: Findings) -> list[str]:
    """A few sentences on the results, the most important first."""

    def was_taught(task: str) -> bool:
        return findings.why_seen(task) == TRAINED_ON

    sentences = [_mean(m, findings.references, was_taught) for m in means(findings.results)]
    for suite in report_suites():
        if findings.of(suite.name):
            sentences += suite.summary(findings)
    return sentences + _compare_with_published(findings, was_taught)


def _mean(mean: Mean, references: Sequence[Reference], was_taught: WasTaught) -> str:
    """A mean over tasks, with published means of the same tasks and how their setting differs."""
    text = (
        f"Mean accuracy of the {mean.group.words}: {100 * mean.value:.1f} ({100 * mean.low:.1f} to "
        f"{100 * mean.high:.1f}); without the text {100 * mean.constant:.1f}."
    )
    published = published_means(mean.group, references)
    if not published:
        return text
    tasks = mean.group.tasks
    theirs = ", ".join(f"{model} ({how}) {100 * value:.1f}" for model, how, value in published)
    items = " on other items (at most 200 per set)" if mean.group.published == SAMPLE else ""
    differs = any(is_other_setting(how, was_taught(t)) for _, how, _ in published for t in tasks)
    taught = sum(map(was_taught, tasks)) or "none"
    return (
        f"{text} Published{items}: {theirs}; {'another setting: ' if differs else ''}ours was "
        f"trained on the training splits of {taught} of these {len(tasks)} tasks."
    )


def compare_with_others(
    comparisons: Mapping[str, Sequence[Comparison]], single_seed: bool
) -> list[str]:
    """A sentence per other evaluation: the tasks where ours is better, and worse.

    Args:
        comparisons: Name of the other -> paired tests.
        single_seed: The page shows means over seeds, but the paired tests are of one seed.
    """
    seed = ", this seed alone" if single_seed else ""
    sentences = []
    for other, tests in comparisons.items():
        firsts = {c.task: c for c in reversed(tests) if c.variant is None}
        tasks: dict[str, list[str]] = {}
        for test in reversed(firsts.values()):
            tasks.setdefault(test.standing, []).append(test.task)
        if tasks:
            listed = "; ".join(f"{text} on {_shorten(names)}" for text, names in tasks.items())
            sentences.append(f"Against {other}, on the same items{seed}: {listed}.")
    return sentences


def _shorten(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - MAX_NAMED} more" if len(tasks) > MAX_NAMED else ""
    return ", ".join(tasks[:MAX_NAMED]) + more


def _compare_with_published(findings: Findings, was_taught: WasTaught) -> list[str]:
    """A sentence or two per published model of `HEADLINE` with the same task and metric.

    Tasks whose training split ours was trained on are listed separately: published models that were
    not trained on a task had another setting there, fine-tuned ones elsewhere.
    """
    found: dict[tuple[str, str], dict[bool, dict[str, dict[str, None]]]] = {}
    for result in findings.results:
        if result.suite not in (None, "seen", "unseen") or result.variant or result.low is None:
            continue
        for reference in same_measurement(result, findings.references):
            if reference.setting in HEADLINE.get(reference.model, ()):
                by_taught = found.setdefault((reference.model, reference.setting), {})
                tasks = by_taught.setdefault(was_taught(result.task), {})
                where = standing(result, reference)
                text = f"significantly {where}" if where else "not significantly different"
                tasks.setdefault(text, {})[result.task] = None
    return [
        f"Against {model} ({setting}). "
        + " ".join(_standings(by_taught[t], setting, t) for t in (True, False) if t in by_taught)
        for (model, setting), by_taught in found.items()
    ]


def _standings(tasks: Mapping[str, Mapping[str, None]], setting: str, taught: bool) -> str:
    listed = "; ".join(f"{text} on {', '.join(names)}" for text, names in tasks.items())
    which = "trained" if taught else "not trained"
    other = " (another setting)" if is_other_setting(setting, taught) else ""
    return f"Where ours was {which} on the training split{other}: {listed}."
