"""Folders: the cache, and the data root that a run reads its tasks and text from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from freelm.errors import DataError
from freelm.io.cache import cache_dir, cached_folder
from freelm.io.checksum import file_sha256
from freelm.io.strict_json import read_json

MINIWORLD = "miniworld"
"""Name of the data root that is generated on first use."""


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
    from freelm.miniworld import VERSION, write_miniworld

    root = cache_dir() / "data" / f"{MINIWORLD}-{VERSION}"
    return cached_folder(root, write_miniworld)


def list_root(root: Path) -> list[dict[str, Any]]:
    """The tasks and corpora of a data root: kind, name and splits of each."""
    return [
        {
            "kind": kind,
            "name": folder.name,
            "splits": sorted(path.stem for path in folder.glob("*.parquet")),
        }
        for kind in ("language", "teacher")
        for folder in sorted((root / kind).glob("*"))
        if folder.is_dir()
    ]


def check_root(root: Path, say: Callable[[str], None]) -> list[str]:
    """Compare the files of a data root with the checksums of its MANIFEST.json.

    Returns:
        The files that are missing or differ, one line each.

    Raises:
        DataError: If there is no manifest, or it lists no files.
    """
    listed = read_json(root / "MANIFEST.json").get("files")
    if not listed:
        raise DataError(f"{root / 'MANIFEST.json'}: lists no files")
    problems = []
    for facts in listed:
        path = root / facts["file"]
        if not path.is_file():
            problems.append(f"{path}: is missing")
        elif file_sha256(path) != facts["sha256"]:
            problems.append(f"{path}: differs from the manifest (checksum)")
    say(f"{root}: {len(listed) - len(problems)} of {len(listed)} files are as the manifest says")
    return problems
