import os
import textwrap

import pytest

from freelm.bench.runner import BenchmarkError, measure_in_process, median, repeat_for


def worker(tmp_path, monkeypatch, code):
    (tmp_path / "a_worker.py").write_text(
        "import os, sys\n\n\ndef measure(spec):\n" + textwrap.indent(code, "    ")
    )
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return "a_worker"


def test_the_last_line_of_the_process_is_the_result(tmp_path, monkeypatch):
    name = worker(tmp_path, monkeypatch, "print('words')\nreturn {'twice': 2 * spec['n']}")
    assert measure_in_process(name, {"n": 21}, "cpu") == {"twice": 42}


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise ValueError('too hot')", "too hot"), ("sys.exit()", "printed nothing")],
)
def test_a_process_that_fails_is_named_with_its_last_words(tmp_path, monkeypatch, code, said):
    with pytest.raises(BenchmarkError, match=said) as caught:
        measure_in_process(worker(tmp_path, monkeypatch, code), {"system": "x"}, "cpu")
    assert "'system': 'x'" in str(caught.value)


@pytest.mark.parametrize(
    ("device", "seen_here", "kind", "seen_there"),
    [
        ("cpu", None, "cpu", ""),
        ("cpu", "4,7", "cpu", ""),
        ("cuda", None, "cuda", "0"),
        ("cuda:1", None, "cuda", "1"),
        ("cuda", "4,7", "cuda", "4"),
        ("cuda:1", "4,7", "cuda", "7"),
    ],
)
def test_the_process_sees_the_device_asked_for_and_no_other(
    tmp_path, monkeypatch, device, seen_here, kind, seen_there
):
    if seen_here is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen_here)
    code = "return [spec, os.environ['CUDA_VISIBLE_DEVICES']]"
    found = measure_in_process(worker(tmp_path, monkeypatch, code), {"n": 1}, device)
    assert found == [{"n": 1, "device": kind}, seen_there]


def test_work_is_done_once_to_warm_up_and_then_at_least_once():
    calls = []
    assert repeat_for(lambda: calls.append(1), 0.0) >= 0
    assert len(calls) == 2


def test_the_median_counts():
    assert median([{"x": 9.0}, {"x": 1.0}, {"x": 2.0}], "x") == 2.0
