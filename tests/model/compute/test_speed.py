import json

import pytest
import torch

from freelm.model.compute import speed
from freelm.model.compute.speed import fastest_cpu_dtype


@pytest.fixture(autouse=True)
def measured_again(own_cache):
    fastest_cpu_dtype.cache_clear()
    yield
    fastest_cpu_dtype.cache_clear()


def timed(monkeypatch, fp32, bf16):
    calls = []

    def seconds(dtype):
        calls.append(dtype)
        return {torch.float32: fp32, torch.bfloat16: bf16}[dtype]

    monkeypatch.setattr(speed, "_seconds", seconds)
    return calls


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"),
    [(3.0, 1.0, torch.bfloat16), (1.2, 1.0, torch.float32), (1.0, 4.0, torch.float32)],
)
def test_the_faster_type_is_chosen(fp32, bf16, chosen, monkeypatch):
    timed(monkeypatch, fp32, bf16)
    assert fastest_cpu_dtype() == chosen


def test_a_machine_is_measured_once(monkeypatch, own_cache):
    calls = timed(monkeypatch, 3.0, 1.0)
    fastest_cpu_dtype()
    fastest_cpu_dtype.cache_clear()  # as in another process
    timed(monkeypatch, 1.0, 3.0)
    assert fastest_cpu_dtype() == torch.bfloat16
    assert len(calls) == 2
    (path,) = own_cache.rglob("*.json")
    assert json.loads(path.read_text())["cpu"] == speed._cpu_name()


@pytest.mark.parametrize("content", ["", "[]", '{"fp32": 1}', '{"fp32": 1, "bf16": 0}'])
def test_a_damaged_result_is_measured_again(content, monkeypatch, own_cache):
    timed(monkeypatch, 3.0, 1.0)
    fastest_cpu_dtype()
    (path,) = own_cache.rglob("*.json")
    path.write_text(content)
    fastest_cpu_dtype.cache_clear()
    calls = timed(monkeypatch, 1.0, 3.0)
    assert fastest_cpu_dtype() == torch.float32
    assert len(calls) == 2


def test_a_measurement_is_a_time():
    assert speed._seconds(torch.float32) > 0
