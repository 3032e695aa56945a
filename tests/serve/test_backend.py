import os

import torch

from freelm.model.compute.int8 import Int8Linear
from freelm.model.releases import RELEASES, released_names
from freelm.serve.backend import ModelBackend, creation_time


def test_the_date_of_a_model_is_that_of_its_newest_file(tmp_path):
    for name, seconds in (("config.json", 100), ("freelm.json", 300), ("model.safetensors", 200)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (seconds, seconds))
    assert creation_time(str(tmp_path)) == 300
    assert creation_time(str(tmp_path / "config.json")) == 100
    assert creation_time("nobody/knows-this") == 0


def test_the_date_of_a_release_is_not_that_of_the_start():
    for name in released_names():
        newest = max(path.stat().st_mtime for path in (RELEASES / name).iterdir())
        assert creation_time(name) == int(newest)


def test_the_type_of_numbers_is_that_of_the_weights(model, monkeypatch):
    backend = ModelBackend(model)
    assert backend.dtype == "fp32"
    network = model.model.network
    monkeypatch.setattr(network, "modules", lambda: iter([Int8Linear(torch.ones(2, 2), None)]))
    assert backend.dtype == "int8"


def test_a_sample_has_a_text_for_each_request(model):
    batch = ModelBackend(model).sample_batch()
    assert len({request.contexts for request in batch}) == len(batch)
