"""The model: bases, markers and verdict rows, adapters, saving and loading."""
