from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from freelm.config import LoraSettings
from freelm.data.packing import build_tree, collate
from freelm.errors import ModelError
from freelm.model import releases
from freelm.model.adapters import add_lora
from freelm.model.bases import load_base
from freelm.model.loading import load_model
from freelm.model.markers import MarkerRows, add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.releases import pack_release, released_folder, released_names
from freelm.model.saving import ModelFacts, save_model
from tiny_freelm import freelm_folder

__all__ = ["freelm_folder"]


def verdicts(network: FreeLMNetwork) -> torch.Tensor:
    form = network.form
    claims = [form.claim(f"It is {word}.") for word in ("true", "false", "there")]
    with torch.no_grad():
        return network.margins(collate([build_tree(form.context(("A.",)).ids, claims)], [[0]]))


@pytest.fixture
def trained(tiny_base_folder: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A model folder with an adapter that has learned something, and its verdicts."""
    base = load_base(str(tiny_base_folder))
    form = add_markers(base.model, base.tokenizer)
    rows = MarkerRows(base.model, base.tokenizer)
    network = FreeLMNetwork(add_lora(base.model, LoraSettings(rank=4)), form, rows).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    markers = marker_ids(network.tokenizer)
    facts = ModelFacts("adapter", str(tiny_base_folder), None, markers, temperature=1.5)
    save_model(network, tmp_path / "model", facts)
    return tmp_path / "model", verdicts(network)


@pytest.fixture
def released(
    trained: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """`toy` is released; the list tells how often its base was asked for."""
    monkeypatch.setattr(releases, "RELEASES", tmp_path / "releases")
    pack_release(trained[0], tmp_path / "releases" / "toy")
    pulled: list[str] = []
    monkeypatch.setattr(releases, "pull_base", lambda name, say: pulled.append(name))
    return pulled


def test_a_release_holds_the_adapter_in_half_precision_and_nothing_of_the_base(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    release = tmp_path / "release"
    size = pack_release(trained[0], release)
    names = {path.name for path in release.iterdir()}
    assert names == {
        "adapter_config.json", "adapter_model.safetensors", "freelm.json", "markers.safetensors"
    }  # fmt: skip
    assert size == sum(path.stat().st_size for path in release.iterdir())
    for file in release.glob("*.safetensors"):
        assert {weight.dtype for weight in load_file(file).values()} == {torch.float16}


def test_a_released_model_judges_as_the_trained_one(
    trained: tuple[Path, torch.Tensor], released: list[str], own_cache: Path
) -> None:
    assert released_names() == ["toy"]
    model = load_model("toy")
    torch.testing.assert_close(verdicts(model.network), trained[1], rtol=0, atol=5e-3)
    assert (model.name, model.facts.temperature) == ("toy", 1.5)


def test_it_is_merged_once(released: list[str], own_cache: Path) -> None:
    said: list[str] = []
    folder = released_folder("toy", said.append)
    assert folder.is_relative_to(own_cache)
    assert released_folder("toy", said.append) == folder
    assert len(released) == len(said) == 1
    first, second = load_model("toy"), load_model("toy")
    assert torch.equal(verdicts(first.network), verdicts(second.network))
    assert not list(folder.parent.glob(".writing-*"))


def test_another_version_is_merged_anew(
    trained: tuple[Path, torch.Tensor], released: list[str], own_cache: Path
) -> None:
    first = released_folder("toy", print)
    facts = releases.RELEASES / "toy" / "freelm.json"
    facts.write_text(facts.read_text().replace("1.5", "1.75"))
    assert released_folder("toy", print) != first
    assert load_model("toy").facts.temperature == 1.75


def test_a_merge_that_fails_leaves_nothing(
    released: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(releases, "save_model", fail)
        with pytest.raises(OSError, match="no space"):
            released_folder("toy", print)
    assert not [path for path in (own_cache / "releases").iterdir() if path.is_dir()]
    assert load_model("toy").name == "toy"


def test_a_model_with_all_weights_cannot_be_packed(freelm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no adapter"):
        pack_release(freelm_folder, tmp_path / "release")


def test_what_is_too_large_is_refused(
    trained: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match=r"MB, at most 0\.001 ship"):
        pack_release(trained[0], tmp_path / "release")


def test_this_installation_has_only_sound_releases() -> None:
    for name in released_names():
        size = sum(path.stat().st_size for path in (releases.RELEASES / name).iterdir())
        assert size <= releases.MAX_BYTES
