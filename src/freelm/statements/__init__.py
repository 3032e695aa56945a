"""Minimal pairs: for a text, a true and a false claim that share nearly all their words.

Rules only, no model. `build` writes them as a task of a data root.
"""
