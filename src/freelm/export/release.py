"""A release: a trained adapter, small enough to ship in the repository."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from freelm.api import FreeLM
from freelm.errors import ModelError, first_line
from freelm.eval.results import Result, read_results
from freelm.eval.sections import first_metrics
from freelm.eval.suite import report_suites
from freelm.io.atomic import atomic_folder
from freelm.judge.requests import Request
from freelm.model.releases import RELEASES, VERDICTS_FILE, WEIGHTS
from freelm.model.saving import FACTS_FILE, ModelFacts, read_facts
from freelm.report.provenance import check_evaluation

ADAPTER_SETTINGS = "adapter_config.json"

MAX_BYTES = 25_000_000
"""A release is in the repository and in every installation."""

PROPOSITIONS = RELEASES / "propositions.jsonl"
"""Contexts and claims written for this project, with their truth."""


def pack_release(model: Path, release: Path, evaluations: Sequence[Path] = ()) -> int:
    """Write a release: the adapter in half precision, facts with results, and verdicts.

    Args:
        model: Folder of a model with an adapter on a shipped base.
        release: The folder to write; an existing release is replaced.
        evaluations: Folders of `freelm eval --out` whose results go into `freelm.json`.

    Returns:
        Its size in bytes.

    Raises:
        ModelError: If the model has no adapter, its base is missing, the release would be too
            large, or the folder is not a release or cannot be written.
        DataError: If an evaluation is not of this model.
    """
    facts = read_facts(model)
    if facts.kind != "adapter":
        raise ModelError(f"{model}: has no adapter; only an adapter is small enough to ship")
    _check_place(release)
    for folder in evaluations:
        check_evaluation(folder, facts)
    results = [line for folder in evaluations for line in _figures(read_results(folder))]
    try:
        with atomic_folder(release) as new:
            _write(model, replace(facts, results=results or facts.results), new)
            size = sum(path.stat().st_size for path in new.iterdir())
            if size > MAX_BYTES:
                raise ModelError(
                    f"{model}: has {size / 1e6:.1f} MB, at most {MAX_BYTES / 1e6:g} ship"
                )
    except OSError as error:
        raise ModelError(f"{release}: cannot be written ({first_line(error)})") from None
    return size


def _check_place(release: Path) -> None:
    """Check that only a release would be replaced; a trained model has no stored verdicts."""
    if release.exists() and not (release / VERDICTS_FILE).is_file():
        raise ModelError(f"{release}: already exists and is not a release; choose another folder")


def _write(model: Path, facts: ModelFacts, folder: Path) -> None:
    for name in WEIGHTS:
        weights = {key: weight.half() for key, weight in load_file(model / name).items()}
        save_file(weights, folder / name)
    settings = json.loads((model / ADAPTER_SETTINGS).read_text())
    settings["base_model_name_or_path"] = facts.base  # not the path of the base on this machine
    (folder / ADAPTER_SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
    (folder / FACTS_FILE).write_text(json.dumps(asdict(facts), indent=1) + "\n")
    verdicts = "".join(json.dumps(line) + "\n" for line in judge_propositions(str(folder)))
    (folder / VERDICTS_FILE).write_text(verdicts)


def judge_propositions(name: str) -> list[dict[str, Any]]:
    """The shipped propositions, each with a model's P(true).

    Args:
        name: Name of the model.
    """
    lines = [json.loads(line) for line in PROPOSITIONS.read_text().splitlines()]
    requests = [Request(tuple(line["context"]), (line["claim"],)) for line in lines]
    judged = FreeLM.from_pretrained(name).judge_requests(requests)
    return [
        {**line, "probability": round(float(answer.probabilities[0]), 5)}
        for line, answer in zip(lines, judged, strict=True)
    ]


_STATED = ("suite", "task", "split", "metric", "value", "low", "high", "majority", "n")


def _figures(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """The first metric of each task, and perplexities, as short records."""
    firsts = [
        result
        for suite in report_suites()
        if suite.card_heading
        for result in first_metrics(results, suite.name)
    ]
    for result in [*firsts, *(r for r in results if r.metric == "perplexity")]:
        facts = {key: getattr(result, key) for key in _STATED}
        yield {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in facts.items()
            if value is not None
        }
