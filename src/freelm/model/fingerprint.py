"""The fingerprint of a model: a key for cached answers, so that two models never share them."""

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from freelm.io.checksum import file_sha256
from freelm.model.compute.int8 import number_type
from freelm.model.loading import LoadedModel
from freelm.model.releases import model_folder


def model_identity(model: LoadedModel) -> dict[str, Any]:
    """What a model's answers depend on (checksums, facts, number type), as JSON values."""
    folder = model_folder(model.name)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    sums = {p.name: _checksum(p) for p in files if p.suffix in (".json", ".safetensors")}
    network = model.network
    return {
        "files": sums,
        "facts": {**asdict(model.facts), "base": None if sums else model.facts.base},
        "revision": getattr(network.causal.config, "_commit_hash", None),
        "dtype": number_type(network),
    }


def fingerprint(model: LoadedModel) -> str:
    """Sixteen hexadecimal digits that identify a model."""
    text = json.dumps(model_identity(model), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checksum(path: Path) -> str:
    facts = path.stat()
    return _checksum_of_state(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _checksum_of_state(path: Path, size: int, modified: int) -> str:
    """Cached: an evaluation asks once per task, and the file may be large."""
    return file_sha256(path)
