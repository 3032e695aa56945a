import os
import subprocess
import sys

import pytest
import torch

from freelm.errors import InputError
from freelm.model.compute import threads


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    yield
    monkeypatch.setattr(threads, "_requested", None)
    torch.set_num_threads(before)


def cgroup(root, lines, files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(lines) + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


VERSION_1 = {
    "cpu/job/cpu.cfs_quota_us": "250000",
    "cpu/job/cpu.cfs_period_us": "100000",
}
QUOTAS = [
    (["0::/"], {"cpu.max": "max 100000\n"}, 8),
    (["0::/"], {"cpu.max": "300000 100000\n"}, 3),
    (["0::/a/b"], {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2),
    (["0::/a"], {"a/cpu.max": "50000 100000\n"}, 1),
    (["0::/host/path"], {"cpu.max": "400000 100000\n"}, 4),
    (["3:cpuset:/", "2:cpu,cpuacct:/job"], VERSION_1, 2),
    (["1:cpu:/"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    (["1:cpu:/", "0::/"], {"unified/cpu.max": "600000 100000\n"}, 6),
    (["0::/"], {"cpu.max": "nonsense\n"}, 8),
]


@pytest.mark.parametrize(("lines", "files", "expected"), QUOTAS)
def test_a_cpu_quota_bounds_the_processors(lines, files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads.available_processors(cgroup(tmp_path, lines, files)) == expected


def test_affinity_bounds_the_processors(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5}, raising=False)
    assert threads.available_processors(tmp_path) == 2


def test_the_default_lowers_the_number_of_threads_and_never_raises_it(monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "available_processors", lambda: 1)
    threads.apply_threads()
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(threads, "available_processors", lambda: 64)
    threads.apply_threads()
    assert torch.get_num_threads() == 1


def test_a_requested_number_comes_before_the_default(monkeypatch):
    monkeypatch.setattr(threads, "available_processors", lambda: 1)
    threads.request_threads(3)
    assert torch.get_num_threads() == 3
    assert os.environ["OMP_NUM_THREADS"] == "3"
    with pytest.raises(InputError, match="threads is 0; it must be at least 1"):
        threads.request_threads(0)


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_waiting_is_passive_before_torch_is_imported(own):
    program = (
        "import os, sys, freelm\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('KMP_BLOCKTIME'))"
    )
    settings = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {k: v for k, v in os.environ.items() if k not in settings} | own
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == (["ACTIVE", "None"] if own else ["PASSIVE", "0"]), done.stderr
