"""The exceptions of FreeLM and helpers for their messages: one line each that says what to do."""

import difflib
from collections.abc import Iterable
from typing import Any


class FreeLMError(Exception):
    """Base of every error that a user can cause and fix."""


class ConfigError(FreeLMError):
    """A run's configuration is wrong: unknown key, value out of range, changed on resume."""


class TaskError(FreeLMError):
    """A task definition is wrong or unknown."""


class DataError(FreeLMError):
    """A file, split, column or row is missing, unreadable or not as declared."""


class EmptyRowError(DataError):
    """A row has no text to judge; other rows of the file may be fine."""


class ModelError(FreeLMError):
    """A model or base is unknown, missing, damaged or of an unsupported type."""


class CacheError(FreeLMError):
    """The cache folder cannot be written, or other users can write to it."""


class CheckpointError(FreeLMError):
    """A checkpoint or run folder cannot be read, written or locked."""


class InputError(FreeLMError):
    """A question that the model cannot answer: no claims, duplicate labels, too long."""


class TrainingError(FreeLMError):
    """Training cannot continue: the loss is not finite."""


def describe_validation(error: Any) -> str:
    """All problems of a pydantic `ValidationError` in one line, each with its field."""
    parts = []
    for item in error.errors():
        where = ".".join(str(piece) for piece in item["loc"])
        unknown = item["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        what = "unknown key" if unknown else item["msg"]
        parts.append(f"{where}: {what}" if where else what)
    return "; ".join(parts)


def first_line(error: Exception) -> str:
    """The first line of an exception's message (at most 200 characters), or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def os_reason(error: OSError) -> str:
    """Why a file operation failed, without the file's name: "No space left on device"."""
    return error.strerror or first_line(error)


def available(names: Iterable[str]) -> str:
    """End of a message about an unknown name: the names that exist."""
    listed = sorted(names)
    return "available: " + ", ".join(listed) if listed else "none available"


def suggest(name: str, names: Iterable[str]) -> str:
    """End of a message about an unknown name: up to three similar names, else all of them."""
    listed = sorted(names)
    near = difflib.get_close_matches(name, listed, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    return available(listed)
