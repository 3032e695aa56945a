from tiny_freelm import miniworld_is_small, world

__all__ = ["miniworld_is_small", "world"]
