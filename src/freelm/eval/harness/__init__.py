"""lm-evaluation-harness: our tasks for it, and our model in it."""
