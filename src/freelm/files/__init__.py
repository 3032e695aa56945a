"""Judging whole tables: reading, writing, resuming."""
