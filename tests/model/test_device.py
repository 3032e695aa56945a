import torch

from freelm.model.device import find_device


def test_without_a_wish_a_gpu_is_taken_if_there_is_one(monkeypatch):
    for here, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda here=here: here)
        assert find_device(None) == torch.device(kind)
        assert find_device("cpu") == torch.device("cpu")
