"""Model folders in the cache: built on first use, verified on first load, rebuilt when damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from freelm.data.roots import cache_dir, file_sha256
from freelm.errors import ModelError, first_line
from freelm.io.folders import written_whole

CHECKSUMS_FILE = "checksums.json"
"""Name -> size and SHA-256 of every other file of the folder."""

_ANOTHER = "FREELM_CACHE names another folder for the cache"

_verified: set[tuple[Path, int]] = set()
"""Folders verified by this process, with the modification time of their checksums."""


def cached_folder(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; build it when it is missing or damaged.

    The first call of a process for a folder reads and hashes all of it: 0.3 to 1 s for the merged
    release (540 MB), by whether the CPU has SHA instructions. This finds damage; what protects the
    cache from other users is `check_cache_is_private`.

    Args:
        folder: Its place. When another process is building it, this one waits.
        make: Writes the files into the folder that it is given.

    Raises:
        ModelError: If the cache cannot be written or others can write to it; else whatever `make`
            raises.
    """
    check_cache_is_private(folder)
    if _is_intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_intact(folder):
                with written_whole(folder) as beside:
                    make(beside)
                    _write_checksums(beside)
                _verified.add(_state(folder))
    except (OSError, SafetensorError) as error:  # the latter where a disk is full
        raise cache_error(folder, error) from None
    return folder


def check_cache_is_private(folder: Path) -> None:
    """Refuse a folder of the cache in which another user could put a model.

    Creates the cache for its user alone if it is missing.

    Raises:
        ModelError: If the cache, the folder or one between them belongs to neither this user nor
            root, or if others can reach it and write to it.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return
    cache = cache_dir()
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        reachable = cache.stat().st_mode & 0o011
        levels = [
            level for level in (cache, *folder.parents, folder) if level.is_relative_to(cache)
        ]
        states = [(level, level.stat()) for level in levels if level.exists()]
    except OSError as error:
        raise cache_error(cache, error) from None
    for level, state in states:
        if state.st_uid not in (0, os.geteuid()):
            raise ModelError(f"cache folder {level}: belongs to another user; {_ANOTHER}")
        if state.st_mode & 0o022 and (reachable or level == cache):
            raise ModelError(
                f"cache folder {level}: other users can write to it; chmod go-w it, or {_ANOTHER}"
            )


def cache_error(place: Path, error: Exception) -> ModelError:
    """The error for a cache that cannot be written."""
    return ModelError(
        f"{place}: cannot be written ({getattr(error, 'strerror', None) or first_line(error)}); "
        f"{_ANOTHER}"
    )


def _write_checksums(folder: Path) -> None:
    facts = {
        path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
    }
    (folder / CHECKSUMS_FILE).write_text(json.dumps(facts, indent=1) + "\n")


def _is_intact(folder: Path) -> bool:
    """Whether a folder's files have their sizes and, at first, their checksums."""
    try:
        facts = json.loads((folder / CHECKSUMS_FILE).read_text())
        for name, expected in facts.items():
            path = folder / name
            if path.stat().st_size != expected["size"]:
                return False
            if _state(folder) not in _verified and file_sha256(path) != expected["sha256"]:
                return False
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return False
    _verified.add(_state(folder))
    return True


def _state(folder: Path) -> tuple[Path, int]:
    return folder, (folder / CHECKSUMS_FILE).stat().st_mtime_ns
