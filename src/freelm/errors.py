"""The exceptions of FreeLM: one family, each message one line that says what to do."""

from typing import Any


class FreeLMError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(FreeLMError):
    """A run's configuration is wrong: unknown key, value out of range, changed on resume."""


class TaskError(FreeLMError):
    """A task definition is wrong or unknown."""


class DataError(FreeLMError):
    """A file, split, column or row is missing, unreadable or not what was declared."""


class EmptyRowError(DataError):
    """A row has no text to judge; others of its file may be fine."""


class ModelError(FreeLMError):
    """A model or base is unknown, missing, damaged or of an unsupported kind."""


class CheckpointError(FreeLMError):
    """A checkpoint or run folder cannot be read, written or locked."""


class InputError(FreeLMError):
    """What was asked of a model cannot be answered: no claims, duplicate labels, too long."""


class TrainingError(FreeLMError):
    """Training cannot go on: the loss is not finite."""


def describe_validation(error: Any) -> str:
    """All faults that a pydantic `ValidationError` found, in one line, each with its place."""
    parts = []
    for item in error.errors():
        where = ".".join(str(piece) for piece in item["loc"])
        what = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        parts.append(f"{where}: {what}" if where else what)
    return "; ".join(parts)


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
