"""The report of an evaluation: from figures to one page that a reviewer can read.

First comes what a reader must know, then a section per suite, published figures beside ours, paired
tests, and what the figures were made with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freelm.eval.comparison import Comparison
from freelm.eval.exposure import why_seen_by_name
from freelm.eval.references import (
    Reference,
    compare_in_words,
    decision_models,
    load_references,
    same_measurement,
    setting_difference,
)
from freelm.eval.results import PERCENT, Result, shown, spread_in_words
from freelm.eval.suites.robust import ROWS
from freelm.report import plots
from freelm.report.page import (
    Block,
    Bullets,
    Code,
    Grid,
    Heading,
    Page,
    Paragraph,
    Plot,
    write_page,
)
from freelm.report.provenance import AVERAGED_WITH, run_in_words, runs_of
from freelm.report.summary import against_others, beats_constant, first_metrics, summary


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report is made of.

    Attributes:
        results: The figures.
        facts: Model, data, code, machine and command (`freelm.report.provenance`).
        details: Curves and samples that the suites told of.
        comparisons: Paired tests against other evaluations: name of the other -> tests.
        learning: Lines of the training metrics, empty where there are none.
        config: The training run's configuration, None where it is not there.
        left_out: What could not be done, in words.
    """

    results: Sequence[Result]
    facts: Mapping[str, Any]
    details: Sequence[Mapping[str, Any]] = ()
    comparisons: Mapping[str, Sequence[Comparison]] = field(default_factory=dict)
    learning: Sequence[Mapping[str, float]] = ()
    config: str | None = None
    left_out: Sequence[str] = ()

    def why_seen(self, task: str) -> str | None:
        """Why a task is not unseen by the model (`freelm.eval.exposure`); None when it is."""
        return why_seen_by_name(task, self.facts.get("record", {}))

    @property
    def num_models(self) -> int:
        """How many trained models the figures are means over."""
        return 1 + len(self.facts.get(AVERAGED_WITH, ()))


def write_report(
    evaluation: Evaluation, folder: Path, references: Sequence[Reference] | None = None
) -> None:
    """Write `report.html` and `report.md` into a folder.

    Args:
        evaluation: What was measured.
        folder: Where to.
        references: Published figures; None means the shipped ones.

    Raises:
        DataError: If the references are wrong or the folder cannot be written.
    """
    write_page(report(evaluation, load_references() if references is None else references), folder)


def report(evaluation: Evaluation, references: Sequence[Reference]) -> Page:
    """The page of an evaluation."""
    page = Page(f"Evaluation of {evaluation.facts.get('model', 'a model')}")
    page.add(Bullets(_first_screen(evaluation, references), summary=True))
    for suite, title, words in _TASK_SUITES:
        page.add(*_tasks(evaluation, suite, title, words, references))
    page.add(*_decisions(evaluation, references))
    page.add(*_robustness(evaluation))
    page.add(*_calibration(evaluation))
    page.add(*_language(evaluation, references))
    page.add(*_comparisons(evaluation))
    page.add(*_learning(evaluation))
    page.add(*_made_with(evaluation))
    return page


def _first_screen(evaluation: Evaluation, references: Sequence[Reference]) -> list[str]:
    """What was found, and what must be known of how much was measured."""
    models = evaluation.num_models
    sentences = summary(evaluation.results, references, evaluation.facts.get("record", {}))
    sentences += against_others(evaluation.comparisons, of_one_seed=models > 1)
    limit = evaluation.facts.get("rows_per_task")
    if limit is not None:
        sentences.append(f"Measured on {limit:,} rows of a task at most, drawn at random.")
    if models > 1:
        sentences.append(
            f"Every figure is the mean over {models} trained models; intervals are for other rows "
            "and other seeds."
        )
    if evaluation.left_out:
        sentences.append(f"Not measured: {len(evaluation.left_out)}; see Left out, below.")
    return sentences


_TASK_SUITES = (
    (None, "Tasks", "The tasks that were asked for."),
    ("seen", "Seen tasks", "Tasks whose training split the model was trained on; other rows."),
    (
        "unseen",
        "Unseen tasks",
        "Tasks whose family the training record does not contain: neither they, nor their data, "
        "nor any task like them was trained on.",
    ),
    ("lm-eval", "lm-evaluation-harness", "Measured by lm-evaluation-harness."),
)

_HEAD = ("task", "family", "split", "metric", "value", "95% interval", "without the text", "n")


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    return [
        (
            r.task,
            r.family,
            r.split,
            r.metric,
            _value(r),
            _interval(r),
            shown(r, r.majority),
            f"{r.n:,}",
            r.note or "",
        )
        for r in results
    ]


def _paragraph(evaluation: Evaluation, words: str) -> Paragraph:
    """Words on a table of figures, and what ± is in it."""
    if evaluation.num_models == 1:
        return Paragraph(words)
    return Paragraph(f"{words} Values: {spread_in_words(evaluation.num_models)}.")


def _value(result: Result) -> str:
    spread = "" if result.spread is None else f" ± {shown(result, result.spread)}"
    return shown(result, result.value) + spread


def _interval(result: Result) -> str:
    if result.low is None or result.high is None:
        return ""
    return f"{shown(result, result.low)} - {shown(result, result.high)}"


def _noted(rows: Sequence[tuple[str, ...]], head: Sequence[str], last: str = "note") -> Grid:
    """A table whose last column is there only where one of its cells holds something."""
    if any(row[-1] for row in rows):
        return Grid((*head, last), rows)
    return Grid(head, [row[:-1] for row in rows])


def _tasks(
    evaluation: Evaluation,
    suite: str | None,
    title: str,
    words: str,
    references: Sequence[Reference],
) -> list[Block]:
    results = [r for r in evaluation.results if r.suite == suite and r.family != "language"]
    if not results:
        return []
    blocks: list[Block] = [Heading(title), _paragraph(evaluation, words)]
    firsts = [r for r in first_metrics(results, suite) if r.metric in PERCENT]
    if firsts:
        published = {r.task: same_measurement(r, references) for r in firsts}
        drawing = plots.by_task(firsts, published)
        blocks.append(Plot(f"tasks-{suite or 'asked'}", drawing, f"{title}: figure by task"))
    compared = [r for r in first_metrics(results, suite) if r.majority is not None]
    bad = [r.task for r in compared if not beats_constant(r)]
    if bad:
        blocks.append(
            Paragraph(
                f"Not significantly better than without the text, both on the same rows drawn "
                f"again and again: {', '.join(bad)}."
            )
        )
    blocks.append(_noted(_rows(results), _HEAD))
    return blocks + _published(results, references, evaluation)


def _published(
    results: Sequence[Result], references: Sequence[Reference], evaluation: Evaluation
) -> list[Block]:
    rows = [
        (
            r.task,
            r.metric,
            f"{_value(r)} ({_interval(r)})",
            reference.model,
            reference.parameters or "",
            reference.setting,
            shown(r, reference.value),
            compare_in_words(r, reference, evaluation.why_seen(r.task)),
            "; ".join(filter(None, (reference.source, reference.note))),
        )
        for r in results
        for reference in same_measurement(r, references)
    ]
    if not rows:
        return []
    head = (
        "task", "metric", "ours", "published model", "size", "setting", "theirs", "in words",
        "source",
    )  # fmt: skip
    return [
        Paragraph(
            "Published figures of the same task, split and metric. A difference is claimed where "
            "it is more than 1.96 standard errors of both; rows of ours may be some of the split."
        ),
        Grid(head, rows),
    ]


def _decisions(evaluation: Evaluation, references: Sequence[Reference]) -> list[Block]:
    results = [r for r in evaluation.results if r.suite == "decisions"]
    if not results:
        return []
    rows = [
        (
            r.task,
            r.metric,
            _value(r),
            _interval(r),
            reference.model,
            shown(r, reference.value),
            setting_difference(reference, evaluation.why_seen(r.task)),
        )
        for r in results
        for reference in decision_models(r, references)
    ]
    blocks: list[Block] = [
        Heading("Decisions"),
        _paragraph(
            evaluation,
            "Typed questions with label descriptions of our own, one question at a time.",
        ),
        _noted(_rows(results), _HEAD),
    ]
    if rows:
        head = ("task", "metric", "ours", "95% interval", "decision model", "theirs", "setting")
        blocks += [
            Paragraph(
                "Published figures of decision models stand on other items (200 a set, half-width "
                "about 5 points) and were measured zero-shot. They show the order of magnitude; no "
                "difference is claimed."
            ),
            Grid(head, rows),
        ]
    return blocks


def _robustness(evaluation: Evaluation) -> list[Block]:
    results = [r for r in evaluation.results if r.suite == "robust"]
    if not results:
        return []
    firsts = {r.task: r.metric for r in results if r.variant == "original"}
    rows_each = evaluation.facts.get("rows_per_task") or ROWS
    drawn = [r for r in results if r.metric == firsts.get(r.task) and r.metric in PERCENT]
    models = evaluation.num_models
    spread = spread_in_words(models) if models > 1 else "mean ± standard deviation over the draws"
    blocks: list[Block] = [
        Heading("Robustness"),
        Paragraph(
            f"Each task's first metric after a change of its rows, {rows_each:,} at most. Where ± "
            f"stands: {spread}; the last column is of the first of them. Controls "
            "take away what an honest answer needs and should get worse. The order of the options "
            "must change nothing; a claim and its opposite should share a probability of 1."
        ),
    ]
    if any(r.variant != "original" for r in drawn):
        blocks.append(Plot("robustness", plots.changes(drawn), "Change of accuracy by kind"))
    rows = [
        (r.task, str(r.variant), r.metric, _value(r), _interval(r), f"{r.n:,}", r.note or "")
        for r in results
    ]
    head = ("task", "rows", "metric", "value", "95% interval", "n")
    return [*blocks, _noted(rows, head, "against the unchanged rows")]


def _calibration(evaluation: Evaluation) -> list[Block]:
    results = [r for r in evaluation.results if r.suite == "calibration"]
    if not results:
        return []
    curves = [d for d in evaluation.details if d.get("kind") == "calibration"]
    of_choices = evaluation.facts.get("choice_temperature", {})
    blocks: list[Block] = [
        Heading("Calibration"),
        _paragraph(
            evaluation,
            f"Fitted after training: temperature {evaluation.facts.get('temperature', 1.0):.3f}, "
            "and where claims compete as options another on top, "
            f"{of_choices.get('two', 1.0):.3f} for two of them and nearer to "
            f"{of_choices.get('many', 1.0):.3f} the more there are; before means without both. "
            "Temperature changes how sure an answer is, never which answer it is. aurc: mean error "
            "rate when only the surest questions are answered.",
        ),
    ]
    if curves:
        after = [c for c in curves if c["variant"] == curves[-1]["variant"]]
        if len(after) > plots.MOST_CURVES:
            blocks.append(
                Paragraph(f"Drawn are the first {plots.MOST_CURVES} of {len(after)} tasks.")
            )
        blocks += [
            Plot("reliability", plots.reliability(curves), "Reliability diagram"),
            Plot("risk-coverage", plots.risk_coverage(after), "Risk-coverage curves"),
        ]
    rows = [
        (
            r.task,
            r.metric,
            str(r.variant),
            _value(r),
            _interval(r),
            shown(r, r.majority),
            f"{r.n:,}",
        )
        for r in results
    ]
    head = ("task", "metric", "temperature", "value", "95% interval", "constant answer", "n")
    return [*blocks, Grid(head, rows)]


def _language(evaluation: Evaluation, references: Sequence[Reference]) -> list[Block]:
    results = [r for r in evaluation.results if r.suite == "language" or r.family == "language"]
    if not results:
        return []
    rows = [
        (
            r.task,
            r.metric,
            r.variant or "",
            _value(r),
            _interval(r),
            shown(r, r.majority),
            f"{r.n:,}",
        )
        for r in results
    ]
    head = ("text", "metric", "of", "value", "95% interval", "without the text", "n")
    words = "Perplexity on test texts that this training did not use, and what is written."
    blocks: list[Block] = [Heading("Language"), _paragraph(evaluation, words), Grid(head, rows)]
    blocks += _published(results, references, evaluation)
    samples = [d for d in evaluation.details if d.get("kind") == "sample"]
    if samples:
        blocks.append(Paragraph("Written texts: the first prompts, not chosen by hand."))
    for sample in samples:
        blocks.append(
            Code(f"{sample['corpus']}, {sample['way']}\n{sample['prompt']} ...{sample['text']}")
        )
    return blocks


def _comparisons(evaluation: Evaluation) -> list[Block]:
    blocks: list[Block] = []
    for other, compared in evaluation.comparisons.items():
        rows = [
            (
                c.task,
                c.variant or "",
                c.metric,
                f"{c.ours:.3f}",
                f"{c.theirs:.3f}",
                f"{c.difference:+.3f}",
                f"{c.low:+.3f} to {c.high:+.3f}",
                "" if c.p_mcnemar is None else f"{c.p_mcnemar:.3g}",
                f"{c.n:,}",
                "yes" if c.is_significant else "no",
            )
            for c in compared
        ]
        head = (
            "task", "rows", "metric", "ours", "theirs", "difference", "95% interval", "McNemar p",
            "n", "significant",
        )  # fmt: skip
        words = [c.sentence for c in compared if c.metric == "accuracy" and c.variant is None]
        blocks.append(Heading(f"Against {other}"))
        if evaluation.num_models > 1:
            blocks.append(Paragraph("Paired tests of this seed alone, not of the means above."))
        blocks += [Bullets(words)] if words else []
        blocks.append(Grid(head, rows))
    return blocks


def _learning(evaluation: Evaluation) -> list[Block]:
    if not evaluation.learning:
        return []
    return [
        Heading("Learning"),
        Plot("learning", plots.learning(evaluation.learning), "Loss of both signals in training"),
    ]


def _made_with(evaluation: Evaluation) -> list[Block]:
    facts = dict(evaluation.facts)
    record = facts.pop("record", {}) or {}
    command = str(facts.pop("command", ""))
    rows = [(name, _plain(value)) for name, value in facts.items() if value is not None]
    told = ("tasks", "went_on_from")
    rows += [(f"training: {k}", _plain(v)) for k, v in record.items() if k not in told]
    if record.get("tasks"):
        rows.append(("training: tasks", ", ".join(record["tasks"])))
    rows += [("training: went on from", run_in_words(run)) for run in runs_of(record)[1:]]
    blocks: list[Block] = [Heading("Made with"), Code(command), Grid(("what", "value"), rows)]
    if evaluation.config:
        blocks += [Paragraph("The configuration of its training:"), Code(evaluation.config)]
    if evaluation.left_out:
        blocks += [Heading("Left out"), Bullets(list(evaluation.left_out))]
    return blocks


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
