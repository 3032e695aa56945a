"""Benchmarks: speed and memory of FreeLM and of other systems, measured in one run."""
