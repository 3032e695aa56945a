"""Training: whose turn it is, the losses, the loop and its checkpoints."""
