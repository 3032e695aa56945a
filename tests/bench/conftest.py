from tiny_freelm import freelm_folder, miniworld_is_small, model, world

__all__ = ["freelm_folder", "miniworld_is_small", "model", "world"]
