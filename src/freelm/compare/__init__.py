"""Comparisons: several ways to train one model under one budget, and families left out."""
