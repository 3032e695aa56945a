"""The cache of an evaluation: what was measured, piece by piece, so that a run can resume.

A cache is a file of JSON lines. Its first line is a key: all that the pieces depend on. Pieces
under another key are not used.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from freelm.errors import DataError, os_reason

Piece = TypeVar("Piece")


class ResultCache:
    """One cache file.

    Args:
        path: The file; None disables the cache.
        key: What the pieces depend on (model, data, setting), as JSON values.
    """

    def __init__(self, path: Path | None, key: Mapping[str, Any]) -> None:
        self.path, self._head = path, json.dumps({"key": key}).encode()

    def read(self, parse: Callable[[Any], Piece]) -> list[Piece]:
        """The cached pieces, in the order in which they were measured.

        A last line that a kill cut short is dropped, and a file under another key is deleted.

        Args:
            parse: Makes a piece of a line's JSON value; raises ValueError, TypeError or KeyError
                if the line is damaged.

        Raises:
            DataError: If the file cannot be read or a line of it is damaged.
        """
        if self.path is None or not self.path.is_file():
            return []
        try:
            content = self.path.read_bytes()
            head, *lines = content.split(b"\n")
            if head != self._head or not lines:
                self.path.unlink()
                return []
            if lines[-1]:
                os.truncate(self.path, len(content) - len(lines[-1]))
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({os_reason(error)})") from None
        try:
            return [parse(json.loads(line)) for line in lines[:-1]]
        except (ValueError, TypeError, KeyError):
            raise DataError(f"{self.path}: has a damaged line; delete it and run again") from None

    def append(self, pieces: Sequence[Mapping[str, Any]]) -> None:
        """Add pieces.

        Raises:
            DataError: If the file cannot be written.
        """
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            with self.path.open("ab") as file:
                head = self._head + b"\n" if new else b""
                file.write(head + b"".join(json.dumps(p).encode() + b"\n" for p in pieces))
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({os_reason(error)})") from None


NO_CACHE = ResultCache(None, {})
"""Stores nothing."""


def read_cache(path: Path, parse: Callable[[Any], Piece]) -> tuple[dict[str, Any], list[Piece]]:
    """The key of a cache file and its pieces, without a last line that was cut short.

    Args:
        path: The file; it is not changed.
        parse: As in `ResultCache.read`.

    Raises:
        DataError: If the file cannot be read or a line of it is damaged.
    """
    try:
        head, *lines = path.read_bytes().split(b"\n")
        return dict(json.loads(head)["key"]), [parse(json.loads(line)) for line in lines[:-1]]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({os_reason(error)})") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path}: has a damaged line") from None


def read_key(path: Path) -> dict[str, Any]:
    """The key of a cache file, empty where it has none."""
    try:
        with path.open("rb") as file:
            return dict(json.loads(file.readline())["key"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}
