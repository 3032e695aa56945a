from tiny_serve import engine, service, settings

__all__ = ["engine", "service", "settings"]
