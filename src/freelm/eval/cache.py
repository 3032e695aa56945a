"""What was measured, kept piece by piece on disk, so that an evaluation goes on where it stopped.

A file is JSON lines; the first line says what the others depend on, and pieces that depend on
anything else are not taken over.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from freelm.errors import DataError

Piece = TypeVar("Piece")


class Kept:
    """The file of what is measured piece by piece.

    Args:
        path: The file; None keeps nothing.
        key: What the pieces depend on (model, data, setting), as JSON values.
    """

    def __init__(self, path: Path | None, key: Mapping[str, Any]) -> None:
        self.path, self._head = path, json.dumps({"key": key}).encode()

    def read(self, piece: Callable[[Any], Piece]) -> list[Piece]:
        """The pieces that are there, in the order in which they were measured.

        A last line that a kill cut short is dropped, and a file under another key is removed.

        Args:
            piece: Makes a piece of a line's JSON value; a ValueError, TypeError or KeyError means
                that the line is none of ours.

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
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None
        try:
            return [piece(json.loads(line)) for line in lines[:-1]]
        except (ValueError, TypeError, KeyError):
            raise DataError(f"{self.path}: holds a damaged line; delete it and run again") from None

    def append(self, pieces: Sequence[Mapping[str, Any]]) -> None:
        """Write down pieces that were measured now.

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
            raise DataError(f"{self.path}: cannot be written ({error.strerror})") from None


NOWHERE = Kept(None, {})
"""Keeps nothing."""


def read_kept(path: Path, piece: Callable[[Any], Piece]) -> tuple[dict[str, Any], list[Piece]]:
    """What a file depends on and its pieces, whatever its key; the file stays as it is.

    A last line that is not whole is left out.

    Args:
        path: The file.
        piece: As in `Kept.read`.

    Raises:
        DataError: If the file cannot be read or a line of it is damaged.
    """
    try:
        head, *lines = path.read_bytes().split(b"\n")
        return dict(json.loads(head)["key"]), [piece(json.loads(line)) for line in lines[:-1]]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path}: holds a damaged line") from None
