"""Perplexity, endings by likelihood, and repetition in generated text."""

from collections.abc import Sequence

import numpy as np

from freelm.api import FreeLM
from freelm.eval.measure import Setting
from freelm.eval.results import Result
from freelm.eval.sections import (
    Block,
    Findings,
    Paragraph,
    Verbatim,
    published_tables,
    result_table,
)
from freelm.eval.suite import Suite, Tasks
from freelm.eval.suites.language.completion import completion_tasks, evaluate_completion
from freelm.eval.suites.language.generation import HUMAN, evaluate_generation
from freelm.eval.suites.language.perplexity import evaluate_perplexity, evaluation_corpora

NAME = "language"


def evaluate_language(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """Perplexity of texts, accuracy of the likeliest ending of tasks, and generated text.

    Without `tasks`, the completion tasks that have data are measured, unless texts were named.
    """
    named = setting.corpora
    results = evaluate_perplexity(model, named, setting)
    if tasks is not None or named is None:
        chosen = completion_tasks(setting) if tasks is None else tasks
        results += evaluate_completion(model, chosen, setting)
    assert setting.data_root is not None  # evaluate_perplexity refuses that
    corpora = named or evaluation_corpora(setting.data_root)
    return results + evaluate_generation(model, corpora, setting)


def _section(findings: Findings) -> list[Block]:
    results = findings.of(NAME)
    text = "Perplexity on test texts that this training did not use, and generated text."
    columns = ("text", "metric", "of", "value", "95% interval", "without the text", "n")
    blocks: list[Block] = [findings.paragraph(text), result_table(results, columns)]
    blocks += published_tables(results, findings)
    samples = [d for d in findings.details if d.get("kind") == "sample"]
    if samples:
        blocks.append(Paragraph("Generated texts: the first prompts, not chosen by hand."))
    blocks += [
        Verbatim(f"{s['corpus']}, {s['way']}\n{s['prompt']} ...{s['text']}") for s in samples
    ]
    return blocks


def _summary(findings: Findings) -> list[str]:
    results = findings.of(NAME)
    bits = {r.task: r.value for r in results if r.metric == "bits_per_byte"}
    perplexities = ", ".join(
        f"{r.task} {r.value:.2f} ({bits[r.task]:.3f} bits per byte)"
        for r in results
        if r.metric == "perplexity" and r.task in bits
    )
    endings = ", ".join(
        f"{r.task} {100 * r.value:.1f}"
        + ("" if r.majority is None else f" (without the text {100 * r.majority:.1f})")
        for r in results
        if r.metric in ("last_word_accuracy", "completion_accuracy_norm")
    )
    sentences = []
    if perplexities:
        sentences.append(
            f"Perplexity on test texts that this training did not use: {perplexities}."
        )
    if endings:
        sentences.append(f"Endings of texts guessed by likelihood, percent right: {endings}.")
    return sentences + _repetition(results)


def _repetition(results: Sequence[Result]) -> list[str]:
    repeats = {
        variant: [r.value for r in results if r.metric == "repetition" and r.variant == variant]
        for variant in ("greedy", "sampled", HUMAN)
    }
    if not all(repeats.values()):
        return []
    shares = {variant: 100 * float(np.mean(values)) for variant, values in repeats.items()}
    return [
        f"Repeated four-word sequences: {shares['greedy']:.0f}% in greedy text, "
        f"{shares['sampled']:.0f}% in sampled text, {shares[HUMAN]:.0f}% in human text."
    ]


SUITE = Suite(
    name=NAME,
    title="Language",
    measure=evaluate_language,
    section=_section,
    summary=_summary,
    order=60,
)
