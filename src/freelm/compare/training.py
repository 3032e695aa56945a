"""Trains the run of an arm under the budget, or resumes it."""

import gc
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from freelm.api import FreeLM
from freelm.compare.budget import Planner
from freelm.compare.config import Budget
from freelm.config import RunConfig, parse_config
from freelm.errors import ConfigError, DataError
from freelm.io.strict_yaml import read_yaml
from freelm.model.saving import FACTS_FILE
from freelm.report.page import write_files
from freelm.train.folder import RunFolder, build_manifest
from freelm.train.run import train

PLAN_FILE = "plan.yaml"
RUN_FOLDER = "run"


class BudgetTrainer:
    """Trains runs that all get the same budget.

    Args:
        budget: Tokens or seconds.
        data_root: Where the data is.
        say: Receives progress messages.
    """

    def __init__(self, budget: Budget, data_root: Path | None, say: Callable[[str], None]) -> None:
        self.budget, self.data_root, self.say = budget, data_root, say
        self.planner = Planner(budget, data_root, say)

    def train(self, run: RunConfig, share: float | None, folder: Path, parts: int = 1) -> FreeLM:
        """The trained model of a run; a finished run is not trained again.

        Args:
            run: The run; its number of steps follows from the budget.
            share: Language share, see `Arm`.
            folder: Where to.
            parts: The run gets one of this many equal parts of the budget.
        """
        planned = self._plan(run, share, folder, parts)
        path = folder / RUN_FOLDER
        if (path / "model" / FACTS_FILE).is_file():
            _check_data_unchanged(path)
        else:
            self.say(f"{run.name}: {planned.train.num_steps} steps in {path}")
            train(planned, path, self.data_root, say=self.say)
        gc.collect()
        return FreeLM.from_pretrained(path / "model")

    def _plan(self, run: RunConfig, share: float | None, folder: Path, parts: int) -> RunConfig:
        """The run with its number of steps, read from the folder if it was planned before.

        A measured time per step would differ the next time, and with it the number of steps.

        Raises:
            ConfigError: If the folder holds a run with other settings.
        """
        path = folder / PLAN_FILE
        budget = self.budget.model_dump(mode="json")
        key = digest([run.model_dump(mode="json"), share, parts, budget])
        if path.is_file():
            stored = read_yaml(path, ConfigError)
            if stored["key"] == key:
                return parse_config(stored["run"], str(path))
            if (folder / RUN_FOLDER).is_dir():
                raise ConfigError(
                    f"{folder / RUN_FOLDER}: holds a run of another configuration or budget; use "
                    "--out for a new folder or restore the values"
                )
        planned = self.planner.plan(run, share, folder, parts)
        facts = {"key": key, "run": planned.model_dump(mode="json")}
        write_files({PLAN_FILE: yaml.safe_dump(facts, sort_keys=False)}, folder)
        return planned


def digest(facts: Any) -> str:
    """A short fingerprint of JSON data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _check_data_unchanged(run: Path) -> None:
    """Check that a finished run and the other arms learn from the same files.

    Raises:
        DataError: If a file has changed since the run. Files that no longer exist are ignored.
    """
    learned = RunFolder(run).manifest()["files"]
    existing = [name for name in learned if Path(name).is_file()]
    for name, facts in build_manifest(existing)["files"].items():
        if facts != learned[name]:
            raise DataError(
                f"{name}: has changed since the run in {run} learned from it; restore it or use "
                "--out for a new folder"
            )
