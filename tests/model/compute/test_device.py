import pytest
import torch

from freelm.errors import ModelError
from freelm.model.compute.device import find_device


def test_without_a_wish_a_gpu_is_taken_if_there_is_one(monkeypatch):
    for here, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda here=here: here)
        assert find_device(None) == torch.device(kind)
        assert find_device("cpu") == torch.device("cpu")


def test_the_one_cpu_has_no_second():
    assert find_device("cpu:0").type == "cpu"
    with pytest.raises(ModelError, match="device is 'cpu:1'; it must be cpu, cuda"):
        find_device("cpu:1")
