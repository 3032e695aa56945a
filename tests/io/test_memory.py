import ctypes
import resource
import sys

import pytest
import torch

from freelm.io.memory import keep_freed_memory, peak_memory_gb


def test_keeping_freed_memory_is_harmless():
    for _ in range(3):
        keep_freed_memory()
        block = torch.ones(3_000_000)
        assert float(block.sum()) == 3_000_000
        del block


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_nothing_is_done_on_other_systems(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("libc was loaded"))
    keep_freed_memory()


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_nothing_is_done_without_glibc(monkeypatch, error):
    def refuse(_name):
        raise error

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes here")
def test_peak_memory_is_in_gigabytes():
    """A process with torch has tenths of one; kilobytes taken for bytes would be far off."""
    before = peak_memory_gb()
    assert 0.1 < before < 64
    block = torch.ones(50_000_000)  # 0.2 GB
    assert before <= peak_memory_gb()
    assert peak_memory_gb() >= 0.2
    assert peak_memory_gb() == pytest.approx(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    )
    del block


def test_peak_memory_counts_bytes_on_a_mac(monkeypatch):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory_gb() == pytest.approx(peak / 1e9, rel=0.01)
