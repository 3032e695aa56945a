"""Pages about evaluations: reports and model cards."""
