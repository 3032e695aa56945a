"""Benchmarks: speed and memory beside other ways to the same answer, as ratios in one run.

Every measurement is a process of its own, so that no system warms a cache, fragments memory or sets
threads for the next one.
"""
