"""Miniworld: a generator of a small English world with its own raw text and tasks.

The demo trains on it, and tests use it so that they need no data root. See `world.py` for
the facts, `sentences.py` for how facts become sentences, `relations.py` and `judgements.py` for the
mechanisms behind the rows, `tasks.py` for their weights and `documents.py` for the raw text.
"""

from freelm.miniworld.tasks import TASKS, UNSEEN_FAMILY
from freelm.miniworld.writer import write_miniworld

VERSION = 3
"""Raised when the generated data changes, so that cached copies are regenerated."""

__all__ = ["TASKS", "UNSEEN_FAMILY", "VERSION", "write_miniworld"]
