"""Judging tables: reading, writing, resuming."""

DEFAULT_PREFIX = "freelm_"
"""What the names of answer columns begin with, so that they do not collide with the input's."""
