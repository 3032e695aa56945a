"""The demo: the main job end to end on the embedded miniworld, two arms side by side."""
