"""Released models: an adapter in the package, merged with its base once and cached.

A release is a folder `freelm/releases/<name>` with the adapter in half precision, `freelm.json` and
verdicts to check it by (`freelm.export.release` writes it).
Its base comes from the package registry when the release is first used; afterwards nothing is
fetched and the merged copy is read.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from freelm.errors import ModelError
from freelm.io.cache import cache_dir, cached_folder
from freelm.io.checksum import file_sha256
from freelm.model.adapters import ADAPTER_FILE, MARKERS_FILE
from freelm.model.bases import pull_base
from freelm.model.saving import FACTS_FILE, load_trained, read_facts, save_model

RELEASES = Path(__file__).parents[1] / "releases"

WEIGHTS = (ADAPTER_FILE, MARKERS_FILE)
"""The files of a release that hold weights."""

VERDICTS_FILE = "verdicts.jsonl"
"""A release's verdicts on `propositions.jsonl`, to verify an installed copy."""


def released_names() -> list[str]:
    """Names of the installed releases."""
    return sorted(path.parent.name for path in RELEASES.glob(f"*/{FACTS_FILE}"))


def released_folder(name: str, say: Callable[[str], None] | None = None) -> Path:
    """The merged copy of a release; built, and its base fetched, on first use.

    Args:
        name: One of `released_names()`.
        say: Receives progress messages; None writes them to standard error.

    Raises:
        ModelError: If the base cannot be fetched or does not fit, or the cache cannot be written.
    """
    tell = say or _write_to_stderr
    return cached_folder(merged_folder(name), lambda folder: _merge(RELEASES / name, folder, tell))


def merged_folder(name: str) -> Path:
    """Cache folder of the merged copy of a release; each version has its own.

    Raises:
        ModelError: If this installation lacks a part of the release.
    """
    try:
        sums = "".join(file_sha256(RELEASES / name / file) for file in (*WEIGHTS, FACTS_FILE))
    except OSError as error:
        raise ModelError(
            f"{error.filename}: cannot be read ({error.strerror}); install freelm again"
        ) from None
    return cache_dir() / "releases" / f"{name}-{_short(sums)}"


def is_release(name: str) -> bool:
    """Whether a name means a release; a model folder of that name comes first, as with the Hub."""
    return name in released_names() and not (Path(name) / FACTS_FILE).is_file()


def own_folder(name: str) -> Path:
    """The folder of a model's own files: that of a release as shipped, else the name as a path."""
    return RELEASES / name if is_release(name) else Path(name)


def model_folder(name: str) -> Path:
    """Where a model's files are: a release's merged copy, else the name itself as a path."""
    return released_folder(name) if is_release(name) else Path(name)


def _merge(release: Path, merged: Path, say: Callable[[str], None]) -> None:
    facts = read_facts(release)
    if facts.base is None:
        raise ModelError(f"{release}: {FACTS_FILE} names no base")
    try:
        pull_base(facts.base, say)
    except ModelError as error:
        raise ModelError(
            f"{release.name} needs its base, once: {error}; `freelm demo` trains a small model "
            "that needs none"
        ) from None
    say(f"{release.name}: merging it with its base, once")
    network = load_trained(release, facts, torch.float32)
    save_model(network, merged, replace(facts, kind="full"))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _write_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
