"""Miniworld: a generator of a small English world with its own raw text and tasks.

It is what the demo trains on and what tests use where no data root is at hand. See `world.py` for
the facts, `sentences.py` for how they are put in words, `relations.py` and `judgements.py` for the
mechanisms behind the rows, `tasks.py` for their weights and `documents.py` for the raw text.
"""

from freelm.miniworld.tasks import TASKS, UNSEEN_FAMILY
from freelm.miniworld.writer import write_miniworld

VERSION = 3
"""Raised when the generated data changes, so that a cached copy is made anew."""

__all__ = ["TASKS", "UNSEEN_FAMILY", "VERSION", "write_miniworld"]
