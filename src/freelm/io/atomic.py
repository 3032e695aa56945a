"""Atomic writes: after a crash, a full disk or a kill a file or folder is either old or new.

Everything is written next to its destination under a temporary name, flushed to disk and renamed.
Temporary names begin with `.writing-`; a killed process can leave some behind.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".writing-"
"""What the name of every temporary file and folder begins with."""


def atomic_write(path: Path, content: str | bytes | memoryview) -> None:
    """Create or replace a file; text is written as UTF-8.

    Raises:
        OSError: If it cannot be written; the old file is intact.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; what is written there replaces `path` if the block succeeds.

    Raises:
        OSError: If it cannot be written; the old file is intact.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        fsync(temporary)
        durable_rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new, empty folder that replaces `folder` if the block succeeds.

    Raises:
        OSError: If it cannot be written. The old folder is intact; should even putting it back
            fail, it is in the file that the exception names.
    """
    new = _temporary(folder)
    new.mkdir()
    try:
        yield new
        apply_umask(new)
        for path in [*new.rglob("*"), new]:
            fsync(path)
        _replace_folder(folder, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _replace_folder(folder: Path, new: Path) -> None:
    """Rename in two steps, because no rename replaces a folder that has files in it."""
    if not folder.exists():
        durable_rename(new, folder)
        return
    old = new.with_name(f"{new.name}.old")
    os.replace(folder, old)
    try:
        durable_rename(new, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def durable_rename(source: Path, target: Path) -> None:
    """Rename a file or folder and wait until the new name is on disk."""
    os.replace(source, target)
    fsync(target.parent)


def fsync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def apply_umask(folder: Path) -> None:
    """Give the weight files of a folder the permissions that any new file gets.

    safetensors (0.8) makes them readable by their owner only, so that a container with another
    user, or others who share the cache, could not read them.
    """
    probe = folder / f"{TEMPORARY}permissions"
    probe.touch()
    default = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for weights in folder.glob("*.safetensors"):
        weights.chmod(default)


def _temporary(path: Path) -> Path:
    """A free name next to a path, whose folder is created if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{TEMPORARY}{path.name[:200]}-{secrets.token_hex(4)}")
