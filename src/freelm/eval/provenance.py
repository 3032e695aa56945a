"""What a report must say of how its figures came to be: model, data, code, machine, command."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from freelm.data.roots import file_sha256
from freelm.eval.suites import Setting
from freelm.inference.predictor import FreeLM
from freelm.model.identity import fingerprint
from freelm.train.folder import CONFIG_FILE, code_version, read_metrics

PROVENANCE_FILE = "evaluation.json"


def provenance(model: FreeLM, setting: Setting, command: Sequence[str]) -> dict[str, Any]:
    """Facts about an evaluation.

    Args:
        model: The model that was measured.
        setting: How.
        command: The words of the command line.
    """
    facts, device = model.facts, model.model.network.device
    manifest = setting.data_root / "MANIFEST.json" if setting.data_root else None
    return {
        "model": model.model.name,
        "fingerprint": fingerprint(model.model),
        "kind": facts.kind,
        "base": facts.base,
        "temperature": facts.temperature,
        "choice_temperature": facts.choice_temperature,
        "record": facts.record,
        "rows_per_task": setting.limit,
        "seeds": setting.seeds,
        "prompts": dict(setting.prompts),
        "data_root": str(setting.data_root) if setting.data_root else None,
        "data_manifest": file_sha256(manifest) if manifest and manifest.is_file() else None,
        "code": code_version(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {device}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["freelm", *command]),
    }


def write_provenance(facts: dict[str, Any], folder: Path) -> None:
    """Write the facts beside the results."""
    text = json.dumps(facts, indent=1, default=str) + "\n"
    (folder / PROVENANCE_FILE).write_text(text, encoding="utf-8")


def training_config(model_name: str) -> str | None:
    """The resolved configuration of the run that a model folder lies in, None without one."""
    path = Path(model_name).parent / CONFIG_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def learning_curve(model_name: str) -> list[dict[str, float]]:
    """The training metrics of the run that a model folder lies in; empty where there is none."""
    return read_metrics(Path(model_name).parent)
