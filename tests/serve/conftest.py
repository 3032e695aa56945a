from tiny_freelm import cli, freelm_folder, model, own_model
from tiny_serve import engine, service, settings

__all__ = ["cli", "engine", "freelm_folder", "model", "own_model", "service", "settings"]
