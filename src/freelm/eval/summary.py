"""The first screen of a report: how good is the model, and at what is it bad?"""

from collections.abc import Mapping, Sequence

import numpy as np

from freelm.eval.means import Mean, means, published_means
from freelm.eval.paired import Comparison
from freelm.eval.references import Reference, beside, standing
from freelm.eval.results import PERCENT, Result
from freelm.eval.robustness import CONTROL

NAMED = 5
"""Tasks that a sentence names at most."""

LOWER_IS_BETTER = ("mae", "brier", "ece", "aurc")


def summary(results: Sequence[Result], references: Sequence[Reference]) -> list[str]:
    """A few sentences on what was measured, the most important first.

    Args:
        results: All figures.
        references: Published figures.
    """
    sentences = [_mean(mean, references) for mean in means(results)]
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
    for suite, words in ((None, "asked for"), ("seen", "seen"), ("unseen", "unseen")):
        own = [r for r in results if r.suite == suite and r.variant is None]
        sentences += _against_published(own, words, references)
    return sentences


def _mean(mean: Mean, references: Sequence[Reference]) -> str:
    """A mean, and the published ones of the same tasks."""
    ours = f"{100 * mean.value:.1f} ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
    theirs = ", ".join(
        f"{model} ({setting}) {100 * value:.1f}"
        for model, setting, value in published_means(mean.group, references)
    )
    return (
        f"Mean accuracy of the {mean.group.words}: {ours}; without the text "
        f"{100 * mean.constant:.1f}" + (f"; published: {theirs}." if theirs else ".")
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
    if result.majority is None or result.low is None or result.high is None:
        return False
    if result.metric in LOWER_IS_BETTER:
        return result.high < result.majority
    return result.low > result.majority


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
        text += f"; mean accuracy of {len(alike)} of them {100 * mean:.1f}, "
        text += f"where that answer has {100 * constant:.1f}"
    sentences = [f"{text}."]
    ranked = sorted(shares, key=gain, reverse=True)
    best = [r for r in ranked if beats_constant(r)][:NAMED]
    if best:
        sentences.append(f"Furthest above that answer: {_listed(best)}.")
    bad = [r for r in firsts if not beats_constant(r)]
    if bad:
        bad.sort(key=gain)
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        sentences.append(f"Bad at {_listed(bad[:NAMED])}{more}: no better than without the text.")
    elif len(ranked) > NAMED:
        sentences.append(f"Least at {_listed(ranked[-2:])}.")
    return sentences


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
    moved: dict[str, list[float]] = {}
    controls: set[str] = set()
    for r in own:
        if r.task in original and r.metric == original[r.task].metric and r.variant != "original":
            name = str(r.variant).split(" phrasing ")[0]
            moved.setdefault(name, []).append(r.value - original[r.task].value)
            if r.note and r.note.startswith(CONTROL):
                controls.add(name)
    means = {name: float(np.mean(values)) for name, values in moved.items()}
    sentences = []
    honest = {name: mean for name, mean in means.items() if name not in controls}
    if honest:
        worst = min(honest, key=honest.__getitem__)
        sentences.append(
            f"Of the changes that keep the meaning, {worst} costs most: "
            f"{_points(honest[worst])} on average over {len(moved[worst])} tasks."
        )
    if "words-shuffled" in means:
        whole = 100 * float(np.mean([r.value for r in original.values()]))
        sentences.append(
            f"With the words of the text in random order: {_points(means['words-shuffled'])}, from "
            f"a mean of {whole:.1f}; what is still right rests on single words."
        )
    flipped = [r.value for r in own if r.metric == "flipped"]
    if flipped and max(flipped) > 0:
        sentences.append(
            f"The order of the options changes up to {100 * max(flipped):.1f}% answers."
        )
    return sentences


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
        f"Calibration: expected calibration error {now:.3f} on average over {len(after)} tasks "
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
    sentences = [f"Perplexity on text it has not seen: {listed}."] if listed else []
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


def against_others(comparisons: Mapping[str, Sequence[Comparison]]) -> list[str]:
    """A sentence for each other evaluation: on which tasks is ours better, on which worse?

    Args:
        comparisons: Name of the other -> paired tests.
    """
    sentences = []
    for other, compared in comparisons.items():
        firsts = {c.task: c for c in reversed(compared) if c.variant is None}
        places: dict[str, list[str]] = {}
        for comparison in reversed(firsts.values()):
            places.setdefault(comparison.standing, []).append(comparison.task)
        if places:
            listed = "; ".join(f"{words} on {_named(tasks)}" for words, tasks in places.items())
            sentences.append(f"Against {other}, on the same items: {listed}.")
    return sentences


def _named(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return ", ".join(tasks[:NAMED]) + more


def _against_published(
    results: list[Result], suite: str, references: Sequence[Reference]
) -> list[str]:
    """A sentence for each published model of `HEADLINE` that shares a task and its measure."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for result in results:
        if result.low is None or result.high is None:
            continue
        for reference in beside(result, references):
            places = found.setdefault((reference.model, reference.setting), {})
            where = standing(result, reference)
            words = f"{where} on" if where else "not significantly different on"
            places.setdefault(words, []).append(result.task)
    sentences = []
    for (model, setting), places in found.items():
        if setting in HEADLINE.get(model, ()):
            listed = "; ".join(f"{words} {', '.join(tasks)}" for words, tasks in places.items())
            sentences.append(f"Against {model} ({setting}), tasks {suite}: {listed}.")
    return sentences


HEADLINE = {
    "GPT-3 175B": ("zero-shot", "few-shot"),
    "GPT-2 124M": ("fine-tuned",),
    "BERT-base-cased": ("fine-tuned",),
    "T0-3B": ("held-out",),
}
"""Published models that the first screen speaks of, and in which settings; the tables have all."""
