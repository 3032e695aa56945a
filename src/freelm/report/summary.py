"""The first screen of a report: how good is the model, and at what is it bad?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from freelm.eval.comparison import Comparison
from freelm.eval.exposure import TRAINED_ON, why_seen_by_name
from freelm.eval.means import Mean, means, published_means
from freelm.eval.references import SAMPLE, Reference, is_other_setting, same_measurement, standing
from freelm.eval.results import PERCENT, Result
from freelm.eval.suites.robust import CONTROL

NAMED = 5
"""Tasks that a sentence names at most."""

WasTaught = Callable[[str], bool]
"""Whether the model was taught the training split of a task."""


def summary(
    results: Sequence[Result], references: Sequence[Reference], record: Mapping[str, Any]
) -> list[str]:
    """A few sentences on what was measured, the most important first.

    Args:
        results: All figures.
        references: Published figures.
        record: What the model was trained on; it decides which of them had our setting.
    """

    def was_taught(task: str) -> bool:
        return why_seen_by_name(task, record) == TRAINED_ON

    sentences = [_mean(mean, references, was_taught) for mean in means(results)]
    for suite, words in (
        (None, "Tasks asked for"),
        ("seen", "Tasks it was trained on"),
        ("unseen", "Tasks of families it never saw"),
        ("decisions", "Typed questions of the decision suite"),
    ):
        found = _suite(first_metrics(results, suite), words)
        sentences += [" ".join(found)] if found else []
    sentences += _robustness(results)
    sentences += _calibration(results)
    sentences += _latency(results)
    sentences += _language(results)
    return sentences + _against_published(results, references, was_taught)


def _mean(mean: Mean, references: Sequence[Reference], was_taught: WasTaught) -> str:
    """A mean, and the published ones of the same tasks with what their setting differs in."""
    ours = f"{100 * mean.value:.1f} ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
    text = f"Mean accuracy of the {mean.group.words}: {ours}; without the text "
    text += f"{100 * mean.constant:.1f}."
    published = published_means(mean.group, references)
    if not published:
        return text
    tasks = mean.group.tasks
    theirs = ", ".join(f"{model} ({how}) {100 * value:.1f}" for model, how, value in published)
    items = " on other items (200 a set at most)" if mean.group.published == SAMPLE else ""
    differs = any(is_other_setting(how, was_taught(t)) for _, how, _ in published for t in tasks)
    taught = sum(map(was_taught, tasks)) or "none"
    return (
        f"{text} Published{items}: {theirs}; {'another setting: ' if differs else ''}ours was "
        f"taught the training splits of {taught} of these {len(tasks)} tasks."
    )


def first_metrics(results: Sequence[Result], suite: str | None) -> list[Result]:
    """The first figure of each task of a suite: that of the task's own first metric."""
    first: dict[str, Result] = {}
    for result in results:
        if result.suite == suite and result.metric != "latency_ms" and result.family != "language":
            first.setdefault(result.task, result)
    return list(first.values())


def beats_constant(result: Result) -> bool:
    """Whether a figure is significantly better than the best answer that ignores the text."""
    return result.gain_low is not None and result.gain_low > 0


def gain(result: Result) -> float:
    """How far a share lies above the best constant answer; 0 for other figures."""
    if result.majority is None or result.metric not in PERCENT:
        return 0.0
    return result.value - result.majority


def _suite(firsts: list[Result], words: str) -> list[str]:
    firsts = [r for r in firsts if r.majority is not None]
    if not firsts:
        return []
    beating = [r for r in firsts if beats_constant(r)]
    shares = [r for r in firsts if r.metric in PERCENT]
    text = f"{words}: on {len(beating)} of {len(firsts)} significantly better than the best answer "
    text += "that ignores the text"
    alike = [r for r in firsts if r.metric == "accuracy"]
    if alike:
        mean, constant = np.mean([(r.value, r.majority or 0.0) for r in alike], axis=0)
        text += f"; mean accuracy over the {_tasks(len(alike))} measured in accuracy "
        text += f"{100 * mean:.1f}, where that answer has {100 * constant:.1f}"
    sentences = [f"{text}."]
    ranked = sorted(shares, key=gain, reverse=True)
    best = [r for r in ranked if beats_constant(r)][:NAMED]
    if best:
        sentences.append(f"Furthest above that answer: {_listed(best)}.")
    bad = [r for r in firsts if not beats_constant(r)]
    if bad:
        bad.sort(key=gain)
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        sentences.append(
            f"Bad at {_listed(bad[:NAMED])}{more}: not significantly better than without the text."
        )
    elif len(ranked) > NAMED:
        sentences.append(f"Least at {_listed(ranked[-2:])}.")
    return sentences


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _listed(results: Sequence[Result]) -> str:
    """Tasks with their figures, and what these are where it is not accuracy."""
    return ", ".join(
        f"{r.task} ({_figure(r)})"
        if r.metric == "accuracy"
        else f"{r.task} ({_figure(r)} {r.metric})"
        for r in results
    )


def _figure(result: Result) -> str:
    return f"{100 * result.value:.0f}" if result.metric in PERCENT else f"{result.value:.2f}"


def _robustness(results: Sequence[Result]) -> list[str]:
    own = [r for r in results if r.suite == "robust"]
    original = {r.task: r for r in own if r.variant == "original" and r.metric in PERCENT}
    if not original:
        return []
    changed = [r for r in own if _is_change(r, original)]
    controls = {_change(r) for r in changed if r.note and r.note.startswith(CONTROL)}
    moved = {
        name: _moved([r for r in changed if _change(r) == name], original)
        for name in dict.fromkeys(map(_change, changed))
    }
    sentences = []
    honest = {n: float(np.mean([*d.values()])) for n, d in moved.items() if n not in controls}
    if honest:
        worst = min(honest, key=honest.__getitem__)
        sentences.append(
            f"Of the changes that keep the meaning, {worst} costs most: {_points(honest[worst])} "
            f"on average over {_tasks(len(moved[worst]))}, at most "
            f"{max(r.n for r in original.values()):,} rows of each."
        )
    if "words-shuffled" in moved:
        sentences.append(_shuffled(moved["words-shuffled"], original))
    sentences += _opposites(own)
    flipped = [r.value for r in own if r.metric == "flipped"]
    if flipped and max(flipped) > 0:
        sentences.append(
            f"The order of the options changes up to {100 * max(flipped):.1f}% answers."
        )
    return sentences


def _is_change(result: Result, original: Mapping[str, Result]) -> bool:
    """Whether a figure is that of the unchanged rows after a change."""
    unchanged = original.get(result.task)
    return (
        unchanged is not None
        and result.metric == unchanged.metric
        and result.variant != unchanged.variant
    )


def _change(result: Result) -> str:
    """What a change is called; all phrasings that training never saw are one."""
    name, _, phrasing = str(result.variant).partition(" phrasing ")
    return f"a {name} phrasing" if phrasing else name


def _moved(changed: Sequence[Result], original: Mapping[str, Result]) -> dict[str, float]:
    """Task -> how far a change moves it, on average over what it was measured on."""
    differences: dict[str, list[float]] = {}
    for r in changed:
        differences.setdefault(r.task, []).append(r.value - original[r.task].value)
    return {task: float(np.mean(values)) for task, values in differences.items()}


def _shuffled(moved: Mapping[str, float], original: Mapping[str, Result]) -> str:
    """What is still right without the order of the words, and what of it needs no text at all."""
    moves = float(np.mean([*moved.values()]))
    whole = float(np.mean([original[task].value for task in moved]))
    constant = float(np.mean([original[task].majority or 0.0 for task in moved]))
    return (
        f"With the words of the text in random order: {_points(moves)}, from a mean of "
        f"{100 * whole:.1f} to {100 * (whole + moves):.1f}. The best answer that ignores the text "
        f"has {100 * constant:.1f}; what lies above that rests on single words."
    )


def _opposites(robust: Sequence[Result]) -> list[str]:
    """How often a claim and its opposite get the same verdict."""
    same = [r for r in robust if r.metric == "disagreement"]
    if not same:
        return []
    worst = max(same, key=lambda r: r.value)
    mean = 100 * float(np.mean([r.value for r in same]))
    return [
        f"A claim and its opposite are both held true, or both false, {mean:.1f}% of the time "
        f"({_tasks(len(same))}; at worst {100 * worst.value:.1f}%, {worst.task})."
    ]


def _points(difference: float) -> str:
    """A difference of shares in points; adding 0 makes -0.0 plain."""
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"


def _calibration(results: Sequence[Result]) -> list[str]:
    before, after = (
        [
            r
            for r in results
            if r.suite == "calibration" and r.metric == "ece" and r.variant == variant
        ]
        for variant in ("before temperature", "after temperature")
    )
    if not after:
        return []
    worst = max(after, key=lambda r: r.value)
    now, once = (np.mean([r.value for r in found]) for found in (after, before))
    return [
        f"Calibration: expected calibration error {now:.3f} on average over {_tasks(len(after))} "
        f"({once:.3f} before its temperature), at worst {worst.value:.3f} ({worst.task})."
    ]


def _latency(results: Sequence[Result]) -> list[str]:
    times = [r for r in results if r.metric == "latency_ms"]
    if not times:
        return []
    listed = ", ".join(f"{r.task} {r.value:.0f} ms" for r in times)
    return [f"Median time of one question, asked alone: {listed}."]


def _language(results: Sequence[Result]) -> list[str]:
    """Perplexity, what is guessed right of texts, and how much what is written repeats itself."""
    bits = {r.task: r.value for r in results if r.metric == "bits_per_byte"}
    listed = ", ".join(
        f"{r.task} {r.value:.2f} ({bits[r.task]:.3f} bits per byte)"
        for r in results
        if r.metric == "perplexity" and r.task in bits
    )
    guessed = ", ".join(
        f"{r.task} {100 * r.value:.1f}"
        + ("" if r.majority is None else f" (without the text {100 * r.majority:.1f})")
        for r in results
        if r.metric in ("last_word_accuracy", "completion_accuracy_norm")
    )
    repeats = {
        variant: [r.value for r in results if r.metric == "repetition" and r.variant == variant]
        for variant in ("greedy", "sampled", "what really followed")
    }
    sentences = []
    if listed:
        sentences.append(f"Perplexity on test texts that this training did not use: {listed}.")
    if guessed:
        sentences.append(f"Endings of texts guessed by likelihood, percent right: {guessed}.")
    if all(repeats.values()):
        shares = {variant: 100 * float(np.mean(values)) for variant, values in repeats.items()}
        sentences.append(
            f"Of what it writes, {shares['greedy']:.0f}% repeats itself when the likeliest word is "
            f"taken and {shares['sampled']:.0f}% when words are drawn, of what people wrote "
            f"{shares['what really followed']:.0f}%."
        )
    return sentences


def against_others(
    comparisons: Mapping[str, Sequence[Comparison]], of_one_seed: bool = False
) -> list[str]:
    """A sentence for each other evaluation: on which tasks is ours better, on which worse?

    Args:
        comparisons: Name of the other -> paired tests.
        of_one_seed: Whether the other figures are means over seeds; paired tests are of one.
    """
    seed = ", this seed alone" if of_one_seed else ""
    sentences = []
    for other, compared in comparisons.items():
        firsts = {c.task: c for c in reversed(compared) if c.variant is None}
        places: dict[str, list[str]] = {}
        for comparison in reversed(firsts.values()):
            places.setdefault(comparison.standing, []).append(comparison.task)
        if places:
            listed = "; ".join(f"{words} on {_named(tasks)}" for words, tasks in places.items())
            sentences.append(f"Against {other}, on the same items{seed}: {listed}.")
    return sentences


def _named(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return ", ".join(tasks[:NAMED]) + more


def _against_published(
    results: Sequence[Result], references: Sequence[Reference], was_taught: WasTaught
) -> list[str]:
    """A sentence or two for each published model of `HEADLINE` that shares a task and its measure.

    Tasks whose training split ours was taught stand apart: on them a published figure without
    training was reached in another setting, on the others one with training.
    """
    found: dict[tuple[str, str], dict[bool, dict[str, dict[str, None]]]] = {}
    for result in results:
        if result.suite not in (None, "seen", "unseen") or result.variant or result.low is None:
            continue
        for reference in same_measurement(result, references):
            if reference.setting in HEADLINE.get(reference.model, ()):
                by_setting = found.setdefault((reference.model, reference.setting), {})
                places = by_setting.setdefault(was_taught(result.task), {})
                where = standing(result, reference)
                words = f"significantly {where}" if where else "not significantly different"
                places.setdefault(words, {})[result.task] = None
    return [
        f"Against {model} ({setting}). "
        + " ".join(_placed(by_setting[t], setting, t) for t in (True, False) if t in by_setting)
        for (model, setting), by_setting in found.items()
    ]


def _placed(places: Mapping[str, Mapping[str, None]], setting: str, taught: bool) -> str:
    """Where ours stands to a published model, on tasks that it was taught or on others."""
    listed = "; ".join(f"{words} on {', '.join(tasks)}" for words, tasks in places.items())
    which = "taught" if taught else "not taught"
    other = " (another setting)" if is_other_setting(setting, taught) else ""
    return f"Where ours was {which} the training split{other}: {listed}."


HEADLINE = {
    "GPT-3 175B": ("zero-shot", "few-shot"),
    "GPT-2 124M": ("fine-tuned",),
    "BERT-base-cased": ("fine-tuned",),
    "T0-3B": ("held-out",),
}
"""Published models that the first screen speaks of, and in which settings; the tables have all."""
