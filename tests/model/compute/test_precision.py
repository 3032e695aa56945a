import pytest
import torch

from freelm.errors import ModelError
from freelm.model.compute import precision
from freelm.model.compute.precision import autocast, has_int8_units, weights_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_named_type_is_taken_whatever_the_machine(name, dtype):
    assert weights_dtype(name, CPU) == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_auto_is_what_a_cpu_computes_faster(monkeypatch, dtype):
    monkeypatch.setattr(precision, "fastest_cpu_dtype", lambda: dtype)
    assert weights_dtype("auto", CPU) == dtype


@pytest.mark.parametrize(
    ("units", "device", "fits"),
    [
        ({"avx512_vnni": True}, "cpu", True),
        ({"avx_vnni": True, "avx512_vnni": False}, "cpu", True),
        ({"amx_int8": True}, "cpu", True),
        ({"avx2": True, "avx512_f": True, "avx512_vnni": False}, "cpu", False),
        ({}, "cpu", False),
        ({"avx512_vnni": True}, "cuda", False),
    ],
)
def test_int8_is_for_cpus_that_are_made_for_it(monkeypatch, units, device, fits):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: units)
    assert has_int8_units(torch.device(device)) == fits
    if fits:
        assert weights_dtype("int8", torch.device(device)) == torch.float32
        return
    with pytest.raises(ModelError, match="int8 needs a CPU with instructions for it"):
        weights_dtype("int8", torch.device(device))


def test_auto_never_takes_int8(monkeypatch):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    assert weights_dtype("auto", CPU) == torch.float32


def test_an_unknown_type_is_refused_by_name():
    with pytest.raises(ModelError, match="'fp8'; it must be one of auto, fp32, bf16, int8"):
        weights_dtype("fp8", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_computed_in_the_type_asked_for(name, dtype):
    with autocast(CPU, name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
