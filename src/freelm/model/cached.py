"""Model folders that are kept in the cache, and made again where they are damaged."""

import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from freelm.errors import ModelError, first_line
from freelm.io.folders import written_whole

SIZES_FILE = "sizes.json"
"""Name -> size of each file: by it a folder that was cut short is known."""


def cached_folder(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, made where it is not there or not whole.

    Args:
        folder: Its place. Another process that is making it is waited for.
        make: Writes the files into the folder that it is given.

    Raises:
        ModelError: If the cache cannot be written; else whatever `make` raises.
    """
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_whole(folder):
                with written_whole(folder) as beside:
                    make(beside)
                    _note_sizes(beside)
    except (OSError, SafetensorError) as error:  # the latter where a disk is full
        raise cache_error(folder, error) from None
    return folder


def cache_error(place: Path, error: Exception) -> ModelError:
    """What to say where the cache cannot be written."""
    return ModelError(
        f"{place}: cannot be written ({getattr(error, 'strerror', None) or first_line(error)}); "
        "FREELM_CACHE names another folder for the cache"
    )


def _note_sizes(folder: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / SIZES_FILE).write_text(json.dumps(sizes, indent=1) + "\n")


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / SIZES_FILE).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False
