"""Folders that are written whole or not at all, and that others may read."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the block ends without an error.

    What was there stays until then, and is removed afterwards.

    Raises:
        OSError: If it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as place:
        beside = Path(place) / folder.name
        beside.mkdir()  # the temporary folder itself is its owner's alone
        yield beside
        let_others_read(beside)
        if folder.exists():
            os.replace(folder, Path(place) / ".before")
        os.replace(beside, folder)


def let_others_read(folder: Path) -> None:
    """Give a folder's weight files the permissions of any new file.

    safetensors (0.8) writes them for their owner alone; a container or a cache of several users
    could not read them.
    """
    probe = folder / ".permissions"
    probe.touch()
    ordinary = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for weights in folder.glob("*.safetensors"):
        weights.chmod(ordinary)
