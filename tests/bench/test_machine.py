import time

import pytest
import torch

from freelm.bench import machine
from freelm.bench.machine import clock, describe, matmul_flops, peak_mb
from freelm.io.memory import peak_memory_gb


@pytest.fixture
def waits(monkeypatch):
    """How often a GPU was waited for."""
    seen = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append(1))
    return seen


def test_a_gpu_is_waited_for_before_the_clock_is_read_and_a_cpu_is_not(waits):
    before = time.perf_counter()
    assert before <= clock("cpu") <= time.perf_counter()
    assert waits == []
    assert before <= clock("cuda") <= time.perf_counter()
    assert waits == [1]


def test_memory_is_that_of_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5_000_000)
    assert peak_mb("cuda") == 5.0
    assert peak_mb("cpu") == pytest.approx(1e3 * peak_memory_gb(), rel=0.01)


def test_products_are_counted_in_the_time_that_they_took(monkeypatch):
    monkeypatch.setitem(machine.PRODUCTS, "cpu", (64, 32, 16))
    monkeypatch.setattr(machine, "repeat_for", lambda work, seconds: work() or 0.5)
    assert matmul_flops(torch.float32, "cpu") == 20 * 2 * 64 * 32 * 16 / 0.5


def test_this_machine_multiplies(monkeypatch):
    monkeypatch.setitem(machine.PRODUCTS, "cpu", (64, 64, 64))
    assert 1e6 < matmul_flops(torch.float32, "cpu", seconds=0.01) < 1e14


def test_only_a_gpu_that_computes_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert describe(torch.device("cuda:1"))["gpu"] == "GPU 1"
    assert describe(torch.device("cpu"))["gpu"] is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_gpu_multiplies_and_reports_its_memory():
    assert matmul_flops(torch.bfloat16, "cuda", 0.2) > matmul_flops(torch.float32, "cuda", 0.2)
    assert peak_mb("cuda") > 3 * 8192 * 8192 * 2 / 1e6
