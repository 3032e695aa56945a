"""What a report must say of how its figures came to be: model, data, code, machine, command."""

import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from freelm.api import FreeLM
from freelm.errors import DataError
from freelm.eval.folder import FACTS_FILE as EVALUATION_FILE
from freelm.eval.measure import Setting
from freelm.eval.sections import AVERAGED_WITH
from freelm.io.checksum import file_sha256
from freelm.io.strict_json import read_json
from freelm.model.compute.int8 import number_type
from freelm.model.fingerprint import fingerprint
from freelm.model.saving import FACTS_FILE, ModelFacts
from freelm.train.folder import CONFIG_FILE, code_version, read_metrics


def provenance(
    model: FreeLM, setting: Setting, command: Sequence[str], averaged_with: Sequence[str] = ()
) -> dict[str, Any]:
    """Facts about an evaluation.

    Args:
        model: The model that was measured.
        setting: How.
        command: The words of the command line.
        averaged_with: Evaluations of other seeds that the figures are means with.
    """
    facts, device = model.facts, model.model.network.device
    manifest = setting.data_root / "MANIFEST.json" if setting.data_root else None
    others = {AVERAGED_WITH: list(averaged_with)} if averaged_with else {}
    return {
        "model": model.model.name,
        "fingerprint": fingerprint(model.model),
        "kind": facts.kind,
        "base": facts.base,
        "temperature": facts.temperature,
        "choice_temperature": asdict(facts.choice_temperature),
        "record": facts.record,
        "rows_per_task": setting.limit,
        "seeds": setting.seeds,
        "prompts": dict(setting.prompts),
        "data_manifest": file_sha256(manifest) if manifest and manifest.is_file() else None,
        "code": code_version(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {device}",
        "numbers": number_type(model.model.network),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["freelm", *_with_data_placeholder(command, setting)]),
        **others,
    }


def _with_data_placeholder(command: Sequence[str], setting: Setting) -> list[str]:
    """The words of a command, with `DIR` for the data root: its path tells a reader nothing."""
    root = setting.data_root
    return ["DIR" if root and Path(word) == root else word for word in command]


def without_root(line: str, root: Path | None) -> str:
    """A line with `DIR` for the data root, whose path tells a reader nothing."""
    return line.replace(str(root), "DIR") if root else line


def write_provenance(facts: dict[str, Any], folder: Path) -> None:
    """Write the facts next to the results."""
    text = json.dumps(facts, indent=1, default=str) + "\n"
    (folder / EVALUATION_FILE).write_text(text, encoding="utf-8")


def check_evaluation(folder: Path, facts: ModelFacts) -> None:
    """Check that an evaluation is of a model, by its training record.

    Raises:
        DataError: If it is of another model, or cannot be read.
    """
    if read_json(folder / EVALUATION_FILE).get("record") != facts.record:
        raise DataError(f"{folder}: is the evaluation of another model")


def check_other_models(folders: Sequence[Path], own: str) -> None:
    """Check that each evaluation is of one model, that none is of ours and no model occurs twice.

    Args:
        folders: Folders of `freelm eval --out`.
        own: Fingerprint of our model.

    Raises:
        DataError: If one is of a model that is already among them, holds means over several
            models, or cannot be read.
    """
    known = {own: "the model that is evaluated"}
    for folder in folders:
        facts = read_json(folder / EVALUATION_FILE)
        model = str(facts.get("fingerprint"))
        if AVERAGED_WITH in facts:
            raise DataError(
                f"{folder}: holds means over several models; name evaluations of one model each"
            )
        if model in known:
            raise DataError(
                f"{folder}: is of the same model as {known[model]}; a spread over seeds needs "
                "evaluations of models that were trained with other seeds"
            )
        known[model] = str(folder)


def runs_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The record of a run and those of the runs that it continued, latest first."""
    if "steps" not in record:
        return []
    return [record, *runs_of(record.get("went_on_from", {}))]


def describe_run(run: Mapping[str, Any]) -> str:
    """One line about a run: its name, length, seed and code."""
    return (
        f"run {run['name']}: {run['steps']:,} steps, {run['teacher_tokens']:,} tokens of the "
        f"teacher signal and {run['language_tokens']:,} of the language signal, "
        f"{run['seconds'] / 60:.0f} minutes, seed {run['seed']}, code {_code(run['code'])}"
    )


def _code(code: Any) -> str:
    commit, _, state = str(code.get("commit") if isinstance(code, Mapping) else code).partition("-")
    return commit[:7] + (f"-{state}" if state else "")


def training_config(model_name: str) -> str | None:
    """The resolved configuration of the run that a model folder lies in, None without one."""
    run = _run_of(model_name)
    path = run / CONFIG_FILE if run else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else None


def learning_curve(model_name: str) -> list[dict[str, float]]:
    """The training metrics of the run that a model folder belongs to; empty if there is none."""
    run = _run_of(model_name)
    return read_metrics(run) if run else []


def _run_of(model_name: str) -> Path | None:
    """The run folder that a model folder lies in; a release or a base lies in none."""
    folder = Path(model_name)
    return folder.parent if (folder / FACTS_FILE).is_file() else None
