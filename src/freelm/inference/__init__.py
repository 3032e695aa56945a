"""Judging and generating with a trained model."""
