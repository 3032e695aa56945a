"""Exports of a trained model: a Hugging Face folder, a release."""
