from pathlib import Path

import pytest
import torch

from freelm.errors import CacheError, ModelError
from freelm.export.release import MAX_BYTES, pack_release
from freelm.export.stock import write_stock
from freelm.model import releases
from freelm.model.loading import load_model
from freelm.model.releases import model_folder, own_folder, released_folder, released_names
from tiny_release import trained, verdicts

__all__ = ["trained"]


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


def test_its_own_files_are_those_that_were_shipped(released: list[str], own_cache: Path) -> None:
    assert own_folder("toy") == releases.RELEASES / "toy"
    assert own_folder("runs/toy") == Path("runs/toy")


def test_a_folder_of_a_releases_name_comes_first(
    released: list[str], own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_stock("toy", Path("toy"))
    facts = Path("toy/freelm.json")
    facts.write_text(facts.read_text().replace("1.5", "9.0"))
    assert (own_folder("toy"), model_folder("toy")) == (Path("toy"), Path("toy"))
    assert load_model("toy").facts.temperature == 9.0


def test_a_release_that_lacks_a_part_says_so(released: list[str], own_cache: Path) -> None:
    (releases.RELEASES / "toy" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors: .*install freelm again"):
        load_model("toy")


@pytest.mark.parametrize("lost", ["model.safetensors", "freelm.json", "tokenizer.json"])
def test_a_merged_copy_that_is_not_whole_is_made_again(
    trained: tuple[Path, torch.Tensor], released: list[str], own_cache: Path, lost: str
) -> None:
    (released_folder("toy", print) / lost).unlink()
    found = verdicts(load_model("toy").network)
    torch.testing.assert_close(found, trained[1], rtol=0, atol=5e-3)


def test_a_merge_that_fails_leaves_nothing(
    released: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(releases, "save_model", fail)
        with pytest.raises(CacheError, match=r"cannot be written \(no space\); set FREELM_CACHE"):
            released_folder("toy", print)
    assert not [path for path in (own_cache / "releases").iterdir() if path.is_dir()]
    assert load_model("toy").name == "toy"


def test_this_installation_has_only_sound_releases() -> None:
    for name in released_names():
        size = sum(path.stat().st_size for path in (releases.RELEASES / name).iterdir())
        assert size <= MAX_BYTES
