"""The cache: what FreeLM can generate, convert or download again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock
from safetensors import SafetensorError

from freelm.errors import CacheError, first_line
from freelm.io.atomic import TEMPORARY, atomic_folder
from freelm.io.checksum import file_sha256

CHECKSUMS_FILE = "checksums.json"
"""File name -> size and SHA-256 of every other file of a cached folder."""

_ANOTHER = "set FREELM_CACHE to another folder"

_verified: set[tuple[Path, int]] = set()
"""Folders verified by this process, with the modification time of their checksums."""


def cache_dir() -> Path:
    """The cache folder: `FREELM_CACHE`, else the user's cache folder of this system."""
    return Path(os.environ.get("FREELM_CACHE") or platformdirs.user_cache_dir("freelm"))


def cached_folder(folder: Path, make: Callable[[Path], None], verify: bool = True) -> Path:
    """Return a folder of the cache; make it if it is missing or damaged.

    Of several processes that need it, one makes it and the others wait.

    Args:
        folder: The folder.
        make: Writes the files into the empty folder that it gets.
        verify: Compare checksums on the first call of a process, which reads every file: 0.3 to
            1 s for 540 MB, by whether the CPU has SHA instructions. Otherwise only sizes are
            compared. This finds damage; `check_cache_is_private` protects from other users.

    Returns:
        `folder`.

    Raises:
        CacheError: If the cache cannot be written or others can write to it. `make` may raise
            other errors.
    """
    check_cache_is_private(folder)
    if _is_intact(folder, verify):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_intact(folder, verify):
                _make(folder, make)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        raise cache_error(folder, error) from None
    return folder


def check_cache_is_private(folder: Path) -> None:
    """Refuse a folder of the cache in which another user could put a model.

    Creates the cache for its user alone if it is missing.

    Raises:
        CacheError: If the cache, the folder or one between them belongs to neither this user nor
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
            raise CacheError(f"cache folder {level}: belongs to another user; {_ANOTHER}")
        if state.st_mode & 0o022 and (reachable or level == cache):
            raise CacheError(
                f"cache folder {level}: other users can write to it; chmod go-w it, or {_ANOTHER}"
            )


def cache_error(path: Path, error: Exception) -> CacheError:
    """The error for a failed write below the cache folder."""
    reason = getattr(error, "strerror", None) or first_line(error)
    return CacheError(f"{path}: cannot be written ({reason}); {_ANOTHER}")


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    for stale in folder.parent.glob(f"{TEMPORARY}{folder.name}-*"):  # of a killed process
        shutil.rmtree(stale, ignore_errors=True)
    with atomic_folder(folder) as new:
        make(new)
        files = sorted(path for path in new.rglob("*") if path.is_file())
        facts = {
            path.relative_to(new).as_posix(): {
                "size": path.stat().st_size,
                "sha256": file_sha256(path),
            }
            for path in files
        }
        (new / CHECKSUMS_FILE).write_text(json.dumps(facts, indent=1) + "\n")
    _verified.add(_state(folder))


def _is_intact(folder: Path, verify: bool) -> bool:
    """Whether all files have their sizes and, on the first call of a process, their checksums."""
    try:
        facts = json.loads((folder / CHECKSUMS_FILE).read_text())
        hashed = verify and _state(folder) not in _verified
        for name, expected in facts.items():
            if (folder / name).stat().st_size != expected["size"]:
                return False
            if hashed and file_sha256(folder / name) != expected["sha256"]:
                return False
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return False
    if hashed:
        _verified.add(_state(folder))
    return True


def _state(folder: Path) -> tuple[Path, int]:
    return folder, (folder / CHECKSUMS_FILE).stat().st_mtime_ns
