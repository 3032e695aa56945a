from tiny_freelm import cli, freelm_folder, miniworld_is_small, model, own_model, world

__all__ = ["cli", "freelm_folder", "miniworld_is_small", "model", "own_model", "world"]
