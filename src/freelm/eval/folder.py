"""The folder of `freelm eval --out`: the answers, figures and report of one model.

items/, texts/    answers and losses, cached piece by piece (`freelm.eval.cache`)
results.jsonl     figures of all suites measured so far
details.jsonl     what the report shows in addition: curves, samples, what was skipped
evaluation.json   facts about model, data, code and command (`freelm.report.provenance`)
report.html, report.md
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from freelm.errors import DataError, os_reason
from freelm.eval.cache import read_key
from freelm.eval.results import RESULTS_FILE, Result, read_results, write_results
from freelm.io.strict_json import read_json

ITEMS, TEXTS = "items", "texts"
"""Folders of cached answers to rows, and of what was measured of texts."""

FACTS_FILE = "evaluation.json"
DETAILS_FILE = "details.jsonl"
SKIPPED = "skipped"
"""Kind of a detail that says what could not be measured."""

_OURS = (ITEMS, TEXTS, RESULTS_FILE, DETAILS_FILE, FACTS_FILE, "report.html", "report.md")

Detail = Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationFolder:
    """A folder that one process may write to, for one model."""

    path: Path

    def facts(self) -> dict[str, Any]:
        """The facts of the last evaluation here, empty when there is none."""
        path = self.path / FACTS_FILE
        return dict(read_json(path)) if path.is_file() else {}

    def add_results(self, new: Sequence[Result]) -> list[Result]:
        """Add figures to those of earlier runs and return all of them.

        New figures replace all earlier ones of the same suite and task.
        """
        earlier = read_results(self.path) if (self.path / RESULTS_FILE).is_file() else []
        replaced = {(r.suite, r.task) for r in new}
        results = [r for r in earlier if (r.suite, r.task) not in replaced] + list(new)
        write_results(results, self.path)
        return results

    def drop_results(self) -> None:
        """Delete the figures of earlier runs."""
        (self.path / RESULTS_FILE).unlink(missing_ok=True)

    def add_details(self, new: Sequence[Detail], suite: str) -> list[Detail]:
        """Add details to those of earlier runs and return all of them.

        Args:
            new: Details; they replace earlier ones of the same kind and task or text.
            suite: What was measured; what it skipped earlier is replaced.
        """
        path = self.path / DETAILS_FILE
        earlier = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        )
        replaced = {_subject(detail) for detail in new} | {(SKIPPED, suite)}
        details = [d for d in earlier if _subject(d) not in replaced] + list(new)
        path.write_text("".join(json.dumps(d) + "\n" for d in details), encoding="utf-8")
        return details


def _subject(detail: Detail) -> tuple[Any, ...]:
    name = next((detail[key] for key in ("task", "corpus", "suite") if key in detail), None)
    return detail.get("kind"), name


@contextmanager
def open_folder(
    path: Path, fingerprint: str, overwrite: bool = False
) -> Iterator[EvaluationFolder]:
    """Hold a folder for the evaluation of a model.

    Args:
        path: The folder; it is made if it does not exist.
        fingerprint: Of the model.
        overwrite: Delete the evaluation that the folder holds.

    Raises:
        DataError: If it belongs to another model, another process is writing to it, or it cannot
            be written.
    """
    lock = FileLock(path / ".lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(
            f"{path}: another evaluation is writing here; choose another --out"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({os_reason(error)})") from None
    try:
        if overwrite:
            _delete_evaluation(path)
        elif _models(path) - {fingerprint}:
            raise DataError(
                f"{path}: holds the evaluation of another model; choose another --out, or delete "
                "that evaluation with --overwrite"
            )
        yield EvaluationFolder(path)
    finally:
        lock.release()


def _models(folder: Path) -> set[str]:
    """Fingerprints of the models whose answers and figures a folder holds."""
    caches = [path for kind in (ITEMS, TEXTS) for path in (folder / kind).glob("*.jsonl")]
    found = {read_key(path).get("model") for path in caches}
    found.add(EvaluationFolder(folder).facts().get("fingerprint"))
    return {str(model) for model in found - {None}}


def _delete_evaluation(folder: Path) -> None:
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
