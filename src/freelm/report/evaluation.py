"""The report of an evaluation: summary, a section per suite, paired tests, how to reproduce it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freelm.eval.comparison import Comparison
from freelm.eval.references import Reference, load_references
from freelm.eval.results import Result
from freelm.eval.sections import Block, Bullets, Findings, Paragraph, Table, Verbatim
from freelm.eval.suite import report_suites
from freelm.report.page import Page, write_page
from freelm.report.plots import learning_curves
from freelm.report.provenance import describe_run, runs_of
from freelm.report.summary import compare_with_others, summary


@dataclass(frozen=True)
class Evaluation:
    """The content of a report.

    Attributes:
        results: All scores.
        facts: Model, data, code, machine and command (`freelm.report.provenance`).
        details: Curves and samples from the suites.
        comparisons: Paired tests against other evaluations: name of the other -> tests.
        learning: Lines of the training metrics, empty if there are none.
        config: The training run's configuration, None if it is unknown.
        left_out: What was not measured, and why.
    """

    results: Sequence[Result]
    facts: Mapping[str, Any]
    details: Sequence[Mapping[str, Any]] = ()
    comparisons: Mapping[str, Sequence[Comparison]] = field(default_factory=dict)
    learning: Sequence[Mapping[str, float]] = ()
    config: str | None = None
    left_out: Sequence[str] = ()


def write_report(
    evaluation: Evaluation, folder: Path, references: Sequence[Reference] | None = None
) -> None:
    """Write `report.html` and `report.md` into a folder.

    Args:
        evaluation: The evaluation.
        folder: Where to.
        references: Published scores; None means the shipped ones.

    Raises:
        DataError: If the references are invalid or the folder cannot be written.
    """
    write_page(report(evaluation, load_references() if references is None else references), folder)


def report(evaluation: Evaluation, references: Sequence[Reference]) -> Page:
    """The page of an evaluation."""
    findings = Findings(evaluation.results, evaluation.facts, evaluation.details, references)
    model = evaluation.facts.get("model", "a model")
    page = Page(f"Evaluation of {model}", _summary(evaluation, findings))
    for suite in report_suites():
        if findings.of(suite.name):
            page.add(suite.title, *suite.section(findings))
    for other, tests in evaluation.comparisons.items():
        page.add(f"Against {other}", *_paired_tests(tests, findings.num_models))
    page.add("Learning", learning_curves({"": evaluation.learning}))
    page.add("Reproduce", *_reproduce(evaluation))
    page.add("Not measured", Bullets(evaluation.left_out) if evaluation.left_out else None)
    return page


def _summary(evaluation: Evaluation, findings: Findings) -> list[str]:
    """What was found, and on how much data."""
    models = findings.num_models
    sentences = summary(findings) + compare_with_others(evaluation.comparisons, models > 1)
    limit = evaluation.facts.get("rows_per_task")
    if limit is not None:
        sentences.append(f"Measured on at most {limit:,} rows per task, drawn at random.")
    if models > 1:
        sentences.append(
            f"Every score is the mean over {models} trained models; intervals are for other rows "
            "and other seeds."
        )
    if evaluation.left_out:
        sentences.append(f"Not measured: {len(evaluation.left_out)}; see the end of the page.")
    return sentences


def _paired_tests(tests: Sequence[Comparison], num_models: int) -> list[Block]:
    head = (
        "task", "rows", "metric", "ours", "theirs", "difference", "95% interval", "McNemar p", "n",
        "significant",
    )  # fmt: skip
    rows = [
        (
            c.task, c.variant or "", c.metric, f"{c.ours:.3f}", f"{c.theirs:.3f}",
            f"{c.difference:+.3f}", f"{c.low:+.3f} to {c.high:+.3f}",
            "" if c.p_mcnemar is None else f"{c.p_mcnemar:.3g}", f"{c.n:,}",
            "yes" if c.is_significant else "no",
        )
        for c in tests
    ]  # fmt: skip
    blocks: list[Block] = []
    if num_models > 1:
        blocks.append(Paragraph("Paired tests of this seed alone, not of the means above."))
    if sentences := [c.sentence for c in tests if c.metric == "accuracy" and c.variant is None]:
        blocks.append(Bullets(sentences))
    return [*blocks, Table(head, rows)]


def _reproduce(evaluation: Evaluation) -> list[Block]:
    facts = dict(evaluation.facts)
    record, command = facts.pop("record", None) or {}, str(facts.pop("command", ""))
    commands = "\n".join([*facts.pop("earlier_commands", ()), command])
    training = {name: value for name, value in record.items() if name != "went_on_from"}
    training["tasks"] = list(record.get("tasks", {})) or None
    rows = list(facts.items())
    rows += [(f"training: {name}", value) for name, value in training.items()]
    rows += [("training: resumed from", describe_run(run)) for run in runs_of(record)[1:]]
    table = Table(
        ("what", "value"), [(name, _as_text(value)) for name, value in rows if value is not None]
    )
    blocks: list[Block] = [Verbatim(commands), table]
    if evaluation.config:
        blocks += [Paragraph("The configuration of its training:"), Verbatim(evaluation.config)]
    return blocks


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
