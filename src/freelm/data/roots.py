"""Folders: the cache, and the data root that a run reads its tasks and text from."""

import os
from pathlib import Path

import platformdirs

from freelm.errors import DataError

MINIWORLD = "miniworld"
"""Name of the data root that is generated on first use."""


def cache_dir() -> Path:
    """Where FreeLM keeps what it can make or fetch again (`FREELM_CACHE` moves it)."""
    return Path(os.environ.get("FREELM_CACHE") or platformdirs.user_cache_dir("freelm"))


def resolve_data_root(name: str | Path | None) -> Path | None:
    """The data root of a name: a folder, `miniworld` (generated on first use), or `FREELM_DATA`.

    Returns:
        The folder, or None when nothing was named; tasks then come from their files or the Hub.

    Raises:
        DataError: If the folder does not exist.
    """
    name = name or os.environ.get("FREELM_DATA") or None
    if name is None:
        return None
    if str(name) == MINIWORLD:
        return miniworld_root()
    root = Path(name)
    if not root.is_dir():
        raise DataError(f"data root {root}: no such folder")
    return root


def miniworld_root() -> Path:
    """The generated miniworld in the cache, written on first use."""
    from freelm.data.miniworld import VERSION, write_miniworld

    root = cache_dir() / "data" / f"{MINIWORLD}-{VERSION}"
    if not (root / "MANIFEST.json").is_file():
        write_miniworld(root)
    return root
