import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from freelm.api import FreeLM
from freelm.model.fingerprint import fingerprint
from tiny_freelm import freelm_folder

__all__ = ["freelm_folder"]


def print_of(folder: Path, **settings: str) -> str:
    return fingerprint(FreeLM.from_pretrained(folder, **settings).model)


@pytest.mark.parametrize("source", ["freelm_folder", "tiny_base_folder"])
def test_other_weights_under_one_name_are_another_model(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(request.getfixturevalue(source), folder)
    first = print_of(folder)
    weights = folder / "model.safetensors"
    os.utime(weights, (1, 1))
    assert print_of(folder) == first  # copied or touched, it is the same model
    changed = load_file(weights)
    name = next(iter(changed))
    changed[name] = changed[name] + 1
    save_file(changed, weights, {"format": "pt"})
    assert print_of(folder) != first


def test_the_number_type_is_part_of_it(freelm_folder: Path) -> None:
    assert print_of(freelm_folder, dtype="bf16") != print_of(freelm_folder, dtype="fp32")
