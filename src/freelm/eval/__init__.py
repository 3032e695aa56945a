"""Measuring a model: metrics, suites and reports."""
