"""The model card: what a released model is, how good and how bad, and what it was made of.

Everything on it comes from the model's record, its evaluations and the manifest of the data.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freelm.errors import DataError
from freelm.eval.references import SAMPLE, Reference, decision_models, same_measurement
from freelm.eval.results import Result, read_results, shown
from freelm.io.strict_json import read_json
from freelm.judge.answers import TRUE_FROM
from freelm.model.bases import WHEEL_BASES
from freelm.model.saving import ModelFacts
from freelm.report.page import Bullets, Code, Grid, Heading, Page, Paragraph
from freelm.report.provenance import PROVENANCE_FILE, check_evaluation, run_in_words, runs_of
from freelm.report.summary import HEADLINE, beats_constant, first_metrics, summary

SURE = 0.7
"""A wrong verdict is shown on the card where the model was at least this sure of it."""

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Origin:
    """Where the training rows of a task, or a corpus, come from, as far as is stated.

    Attributes:
        licence: As stated at the source.
        published: Rows of the training split as it was published, None where nobody says.
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
        name: What the model is called.
        facts: From its `freelm.json`.
        evaluations: Folders of `freelm eval --out`.
        verdicts: What it says to propositions whose truth is known (`freelm.export.release`).
        origins: Task or corpus -> where it comes from.
        references: Published figures.

    Raises:
        DataError: If an evaluation cannot be read, is of another model, or does not say how much
            better than a constant answer it is.
    """
    for folder in evaluations:
        check_evaluation(folder, facts)
    results = [result for folder in evaluations for result in _figures_of(folder)]
    page = Page(f"Model card: {name}")
    screen = Bullets(summary(results, references, facts.record), summary=True)
    page.add(Paragraph(_what_it_is(facts)), screen)
    page.add(Heading("Use"), Code(_USE.format(name=name)))
    page.add(*_figures(results, references))
    page.add(*_weaknesses(results, verdicts))
    page.add(*_probabilities(facts, results))
    page.add(*_training(facts, origins))
    page.add(*_licence(facts))
    page.add(*_made_again(name, facts, evaluations))
    return page


def _figures_of(folder: Path) -> list[Result]:
    """The figures of an evaluation.

    Raises:
        DataError: If a task has no interval of its gain over the best constant answer.
    """
    results = read_results(folder)
    for suite, _ in _SUITES:
        for result in first_metrics(results, suite):
            if result.majority is not None and result.gain_low is None:
                raise DataError(
                    f"{folder}: {result.task}: has no interval of the gain over an answer without "
                    "the text; evaluate again"
                )
    return results


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
    """Stored verdicts; none where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


_USE = """from freelm import FreeLM

model = FreeLM.from_pretrained("{name}")
print(model.judge("The soup was cold and the waiter rude.", "The review is negative."))
print(model.classify("The striker scored twice.", ["politics", "sport", "science"]))"""


def _what_it_is(facts: ModelFacts) -> str:
    record = facts.record
    adapter = "An adapter (LoRA) on" if facts.kind == "adapter" else "A model from"
    wheel = WHEEL_BASES.get(facts.base or "")
    base = f"`{facts.base}`" + (f" ({Path(wheel.member).name})" if wheel else "")
    return (
        f"{adapter} the base {base}, trained on two signals in turns: next tokens of raw "
        f"English text, and {len(record.get('tasks', {}))} tasks of "
        f"{len(record.get('families', []))} families, each rewritten as propositions that are true "
        "or false. It judges claims about a text, chooses between labels, scores and ranks, on "
        "these tasks and on others, without fine-tuning; and it still writes text. English only."
    )


_SUITES = (
    (None, "Tasks, each asked in the first wording of its definition"),
    ("seen", "Tasks that it was trained on (other rows), in the first wording that was taught"),
    ("unseen", "Tasks of families that it never saw, in the first wording of their definition"),
    ("decisions", "Typed questions of the decision suite, in words of their own"),
)


def _figures(results: Sequence[Result], references: Sequence[Reference]) -> list[Any]:
    blocks: list[Any] = [
        Heading("Results"),
        Paragraph(
            "Published figures are of the same task, split and measure, but each in its own "
            "setting, stated in brackets; decision models answered other items (200 a set at most)."
        ),
    ]
    for suite, words in _SUITES:
        firsts = [*first_metrics(results, suite), *_accuracies(results, suite)]
        if firsts:
            blocks.append(
                Paragraph(
                    f"{words}; 95% intervals from resampling the rows, which do not cover another "
                    "training run."
                )
            )
            blocks.append(
                Grid(
                    ("task", "split", "measure", "value", "without the text", "rows", "published"),
                    [_row(result, references) for result in firsts],
                )
            )
    text = [r for r in results if r.metric == "perplexity"]
    if text:
        rows = [(r.task, r.split, f"{r.value:.2f}{_interval(r)}", f"{r.n:,}") for r in text]
        blocks += [
            Paragraph("Perplexity on test texts that this training did not use."),
            Grid(("text", "split", "perplexity", "tokens"), rows),
        ]
    return blocks


def _accuracies(results: Sequence[Result], suite: str | None) -> list[Result]:
    """Accuracies of tasks whose first metric is another one: the means of the paper take them."""
    first = {result.task: result.metric for result in first_metrics(results, suite)}
    return [
        result
        for result in results
        if result.suite == suite
        and result.metric == "accuracy"
        and first.get(result.task) not in (None, "accuracy")
    ]


def _row(result: Result, references: Sequence[Reference]) -> tuple[str, ...]:
    published = [
        f"{r.model} ({r.setting}) {shown(result, r.value)}"
        for r in (*same_measurement(result, references), *_decision_models(result, references))
        if r.setting in HEADLINE.get(r.model, ()) or r.split == SAMPLE
    ]
    return (
        result.task,
        result.split,
        result.metric,
        shown(result, result.value) + _interval(result),
        shown(result, result.majority),
        f"{result.n:,}",
        "; ".join(published),
    )


def _decision_models(result: Result, references: Sequence[Reference]) -> list[Reference]:
    """Figures of decision models, which stand on other items."""
    return decision_models(result, references) if result.suite == "decisions" else []


def _interval(result: Result) -> str:
    if result.low is None or result.high is None:
        return ""
    return f" ({shown(result, result.low)} - {shown(result, result.high)})"


def _weaknesses(results: Sequence[Result], verdicts: Sequence[Mapping[str, Any]]) -> list[Any]:
    blocks: list[Any] = [Heading("What it is bad at")]
    bad = [
        f"{r.task} ({r.metric} {shown(r, r.value)}{_interval(r)})"
        for suite, _ in _SUITES
        for r in first_metrics(results, suite)
        if r.majority is not None and not beats_constant(r)
    ]
    if bad:
        blocks.append(Paragraph(f"Not better than an answer without the text: {', '.join(bad)}."))
    blocks.append(Bullets(_LIMITS))
    wrong = [v for v in verdicts if (v["probability"] >= TRUE_FROM) != v["truth"]]
    sure = [v for v in wrong if max(v["probability"], 1 - v["probability"]) >= SURE]
    if verdicts:
        words = (
            f"Of {len(verdicts)} propositions that were written for this card {len(wrong)} are "
            f"judged wrongly"
        )
        words += (
            f", {len(sure)} of them by a model that was sure ({SURE:g} or more):" if sure else "."
        )
        blocks.append(Paragraph(words))
    if sure:
        rows = [
            (" / ".join(v["context"]), v["claim"], "yes" if v["truth"] else "no",
             f"{v['probability']:.2f}")
            for v in sorted(sure, key=lambda v: -abs(v["probability"] - TRUE_FROM))
        ]  # fmt: skip
        blocks.append(Grid(("text", "claim", "true", "P(true)"), rows))
    return blocks


_LIMITS = (
    "It knows little: a small model holds few facts, so questions that the text does not answer "
    "are mostly guesses.",
    "Several steps of reasoning, counting and comparing numbers, and pronouns that need knowledge "
    "of the world are hardly better than chance.",
    "It was taught a few wordings a task. Asked in others it answers some tasks much worse, and "
    "its probabilities are less honest: try your own claims on rows that you know.",
    "It was trained on short English texts; long ones, other languages and jargon are further from "
    "what it has seen, and its probabilities are honest only on tasks like those above.",
    "Its data carry the biases of their authors and labellers; the sets on hate and offence are "
    "small and old. It is no moderator, and it must not decide about people by itself.",
)


def _probabilities(facts: ModelFacts, results: Sequence[Result]) -> list[Any]:
    errors = [r for r in results if r.metric == "ece" and r.suite in (None, "seen")]
    of_choices, rows = facts.choice_temperature, facts.record.get("calibrated_on")
    by = f"{sum(rows.values()):,} rows of {len(rows)} tasks" if rows else "rows"
    words = (
        f"Verdicts are divided by a temperature of {facts.temperature:.3f}, and where options "
        f"compete by another on top: {of_choices.two:.3f} for two of them, nearer to "
        f"{of_choices.many:.3f} the more there are. They were fitted on {by} that are not reported "
        "on, nor was this run trained on them"
    )
    # Each run keeps its own rows out; those that it went on from may have kept others.
    words += "; an earlier one may have drawn a few." if len(runs_of(facts.record)) > 1 else "."
    if errors:
        mean = sum(r.value for r in errors) / len(errors)
        worst = max(errors, key=lambda r: r.value)
        words += (
            f" Expected calibration error: {mean:.3f} on average over {len(errors)} tasks, at "
            f"worst {worst.value:.3f} ({worst.task})."
        )
    return [Heading("Probabilities"), Paragraph(words)]


def _training(facts: ModelFacts, origins: Mapping[str, Origin]) -> list[Any]:
    record, runs = facts.record, runs_of(facts.record)
    rows = [
        _taught(task, given["family"], f"{given['rows']:,}", origins.get(task, Origin()))
        for task, given in sorted(record.get("tasks", {}).items())
    ]
    corpora = [
        _taught(name, "raw text", "", origins.get(name, Origin()))
        for name in sorted({name for run in runs for name in run.get("corpora", [])})
    ]
    dropped = {task: n for run in reversed(runs) for task, n in _dropped(run).items()}
    return [
        Heading("What it was trained on"),
        Paragraph(
            f"Parts of training splits alone; {sum(dropped.values()):,} rows that stand in another "
            "task's evaluation split were left out. Rows that could be drawn, rows of the split as "
            "it was published, and licences and GitHub repositories as far as stated."
        ),
        Grid(("task", "family", "rows", "published", "licence", "read from"), rows + corpora),
        Bullets(
            [("it went on from " if n else "") + run_in_words(run) for n, run in enumerate(runs)]
        ),
    ]


def _taught(name: str, family: str, rows: str, origin: Origin) -> tuple[str, ...]:
    published = "" if origin.published is None else f"{origin.published:,}"
    return (name, family, rows, published, origin.licence, ", ".join(origin.sources))


def _licence(facts: ModelFacts) -> list[Any]:
    wheel = WHEEL_BASES.get(facts.base or "")
    base = f"; the base is under {wheel.licence}" if wheel else ""
    return [
        Heading("Licence"),
        Paragraph(
            f"The weights trained here are under Apache-2.0, as the code is{base}. Several of the "
            "data sets above are for research or non-commercial use: whether that binds a model "
            "trained on them must be judged before it is used commercially."
        ),
    ]


def _dropped(run: Mapping[str, Any]) -> dict[str, int]:
    return dict(run.get("overlaps_dropped", {}))


def _evaluated_by(folder: Path) -> list[str]:
    """The command of an evaluation, behind those of the evaluations that it is compared with."""
    command = str(read_json(folder / PROVENANCE_FILE)["command"])
    words = shlex.split(command)
    others = words[words.index("--against") + 1].split(",") if "--against" in words else []
    return [*(line for other in others for line in _evaluated_by(Path(other))), command]


def _made_again(name: str, facts: ModelFacts, evaluations: Sequence[Path]) -> list[Any]:
    lines = [f"freelm data pull {facts.base}"] if facts.base in WHEEL_BASES else []
    runs = [run["name"] for run in reversed(runs_of(facts.record))]
    lines += [f"freelm train configs/{run}.yaml --data DIR" for run in runs]
    own = f"runs/{facts.record.get('name')}/model"
    if "calibrated_on" in facts.record:
        limit = max(facts.record["calibrated_on"].values())
        lines.append(f"freelm calibrate {own} --limit {limit} --data DIR")
    lines += [line for folder in evaluations for line in _evaluated_by(folder)]
    return [
        Heading("Made again by"),
        Code("\n".join(lines)),
        Paragraph(
            f"The evaluations are of what ships; to measure a repeated training, put {own} in the "
            f"place of {name}. DIR is a data root with the rows named above."
        ),
    ]
