"""The run folder: lock, resolved configuration, manifest of the training data, metrics."""

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from freelm.config import RunConfig, differing_keys, parse_config
from freelm.errors import CheckpointError, ConfigError, DataError
from freelm.io.atomic import atomic_write
from freelm.io.checksum import file_sha256
from freelm.io.strict_yaml import read_yaml

CONFIG_FILE = "config.yaml"
MANIFEST_FILE = "manifest.json"
METRICS_FILE = "metrics.jsonl"


class RunFolder:
    """The folder of a run.

    Args:
        path: The folder; created if it does not exist.

    Raises:
        CheckpointError: If it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"run folder {path}: cannot be created ({error.strerror})"
            ) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder; the lock ends with the process, however that ends.

        Raises:
            CheckpointError: If another process holds it or the folder is not writable.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise CheckpointError(f"run folder {self.path}: another run is using it") from None
        except OSError as error:
            raise CheckpointError(f"run folder {self.path}: {error.strerror}") from None
        try:
            yield
        finally:
            lock.release()

    def begin(self, config: RunConfig, files: list[str]) -> None:
        """Write configuration and manifest, or check that those of an existing run are the same.

        Raises:
            ConfigError: If the configuration differs from the run's (the keys are named).
            DataError: If a file that the run learns from has changed (it is named).
        """
        manifest = build_manifest(files)
        if (self.path / CONFIG_FILE).is_file():
            self._same_config(config)
            self._same_data(manifest)
            return
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100)
        self._write(MANIFEST_FILE, json.dumps(manifest, indent=1) + "\n")
        self._write(CONFIG_FILE, text)  # last: a folder with a configuration holds a run

    def is_used(self) -> bool:
        """Whether there is a run in the folder."""
        return (self.path / CONFIG_FILE).is_file()

    def manifest(self) -> dict[str, Any]:
        """The manifest that the run began with."""
        manifest: dict[str, Any] = json.loads((self.path / MANIFEST_FILE).read_text())
        return manifest

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to the metrics."""
        path = self.path / METRICS_FILE
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from None

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines of steps that a resumed run will repeat."""
        kept = [record for record in read_metrics(self.path) if record["step"] < step]
        self._write(METRICS_FILE, "".join(json.dumps(record) + "\n" for record in kept))

    def _same_config(self, config: RunConfig) -> None:
        data = read_yaml(self.path / CONFIG_FILE, CheckpointError)
        old = parse_config(data, str(self.path / CONFIG_FILE))
        keys = differing_keys(old, config)
        if keys:
            raise ConfigError(
                f"run folder {self.path} holds a run with another configuration "
                f"({', '.join(keys)} differ); use --out for a new folder or restore the values"
            )

    def _same_data(self, manifest: dict[str, Any]) -> None:
        old = self.manifest()["files"]
        for name, facts in manifest["files"].items():
            if old.get(name) != facts:
                raise DataError(
                    f"{name}: has changed since the run in {self.path} began; restore it or use "
                    f"--out for a new folder"
                )

    def _write(self, name: str, text: str) -> None:
        try:
            atomic_write(self.path / name, text)
        except OSError as error:
            raise CheckpointError(
                f"{self.path / name}: cannot be written ({error.strerror})"
            ) from None


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics, without a line that a kill cut short.

    Args:
        folder: The run folder; without metrics the result is empty.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def build_manifest(files: list[str]) -> dict[str, Any]:
    """What a run depends on: its data files with checksums, the code and its libraries."""
    facts = {}
    for name in files:
        path = Path(name)
        local = path.is_file()
        facts[name] = {"sha256": file_sha256(path), "bytes": path.stat().st_size} if local else {}
    return {"files": facts, "code": code_version(), "platform": platform.platform()}


def code_version() -> dict[str, str | None]:
    """Versions of FreeLM and of what it computes with; the commit when run from a checkout."""
    packages = ("freelm", "torch", "transformers", "peft", "tokenizers")
    versions: dict[str, str | None] = {name: metadata.version(name) for name in packages}
    return {**versions, "commit": _commit()}


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
