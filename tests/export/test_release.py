import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from freelm.api import FreeLM
from freelm.errors import ModelError
from freelm.eval.results import Result, write_results
from freelm.export import release as release_module
from freelm.export.release import PROPOSITIONS, judge_propositions, pack_release
from freelm.model.saving import read_facts
from tiny_freelm import freelm_folder
from tiny_release import trained

__all__ = ["freelm_folder", "trained"]


def test_a_release_holds_the_adapter_in_half_precision_and_nothing_of_the_base(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    release = tmp_path / "release"
    size = pack_release(trained[0], release)
    names = {path.name for path in release.iterdir()}
    assert names == {
        "adapter_config.json", "adapter_model.safetensors", "freelm.json", "markers.safetensors",
        "verdicts.jsonl",
    }  # fmt: skip
    assert size == sum(path.stat().st_size for path in release.iterdir())
    for file in release.glob("*.safetensors"):
        assert {weight.dtype for weight in load_file(file).values()} == {torch.float16}


def test_a_model_with_all_weights_cannot_be_packed(freelm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no adapter"):
        pack_release(freelm_folder, tmp_path / "release")


def test_what_is_too_large_is_refused(
    trained: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_module, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match=r"MB, at most 0\.001 ship"):
        pack_release(trained[0], tmp_path / "release")


def test_it_tells_what_it_says_to_the_propositions_as_it_was_packed(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    release = tmp_path / "release"
    pack_release(trained[0], release)
    lines = [json.loads(line) for line in (release / "verdicts.jsonl").read_text().splitlines()]
    model = FreeLM.from_pretrained(str(release))
    for line in lines[:5]:
        found = model.judge(line["context"][0], line["claim"]).probability
        assert found == pytest.approx(line["probability"], abs=1e-4)
    assert lines == judge_propositions(str(release))


def test_its_facts_have_the_first_figure_of_each_task_and_perplexities(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    results = [
        Result("rte", "entailment", "validation", "accuracy", 0.65123, 277, 0.6, 0.7, 0.527),
        Result("rte", "entailment", "validation", "ece", 0.04, 277, 0.03, 0.06, 0.0),
        Result("novels", "language", "test", "perplexity", 20.0, 99, 19.0, 21.0, None, "language"),
        Result("novels", "language", "test", "bits_per_byte", 1.0, 99, 0.9, 1.1, None, "language"),
    ]
    write_results(results, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "evaluation.json").write_text('{"record": {}}')
    pack_release(trained[0], tmp_path / "release", [tmp_path / "evaluation"])
    stated = read_facts(tmp_path / "release").results
    assert [(line["task"], line["metric"]) for line in stated] == [
        ("rte", "accuracy"), ("novels", "perplexity")
    ]  # fmt: skip
    assert stated[0]["value"] == 0.6512
    assert "suite" not in stated[0]


def test_no_place_on_this_machine_is_shipped(
    trained: tuple[Path, torch.Tensor], tiny_base_folder: Path, tmp_path: Path
) -> None:
    pack_release(trained[0], tmp_path / "release")
    settings = json.loads((tmp_path / "release" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == read_facts(trained[0]).base


def test_a_release_that_cannot_be_made_leaves_the_old_one(
    trained: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_release(trained[0], tmp_path / "release")
    before = {path.name: path.read_bytes() for path in (tmp_path / "release").iterdir()}
    monkeypatch.setattr(release_module, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="at most"):
        pack_release(trained[0], tmp_path / "release")
    assert {path.name: path.read_bytes() for path in (tmp_path / "release").iterdir()} == before
    assert not list(tmp_path.glob(".writing-*"))


def test_only_a_release_is_written_over(trained: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "chapter1.txt").write_text("Call me")
    for place in (tmp_path / "book", trained[0]):
        before = {path.name: path.read_bytes() for path in place.iterdir()}
        with pytest.raises(ModelError, match="already exists and is not a release"):
            pack_release(trained[0], place)
        assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_model_that_lacks_a_part_names_it(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    (trained[0] / "markers.safetensors").unlink()
    with pytest.raises(ModelError, match=r"No such file or directory: .*markers\.safetensors"):
        pack_release(trained[0], tmp_path / "release")


def test_a_release_that_is_packed_again_keeps_its_figures(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    facts = json.loads((trained[0] / "freelm.json").read_text())
    figures = [{"task": "rte", "value": 0.6}]
    (trained[0] / "freelm.json").write_text(json.dumps({**facts, "results": figures}))
    pack_release(trained[0], tmp_path / "one")
    pack_release(tmp_path / "one", tmp_path / "two")
    assert read_facts(tmp_path / "two").results == figures


def test_the_propositions_are_fifty_of_both_kinds() -> None:
    lines = [json.loads(line) for line in PROPOSITIONS.read_text().splitlines()]
    assert len(lines) == 50
    assert 20 <= sum(line["truth"] for line in lines) <= 30
    pairs = [(*line["context"], line["claim"]) for line in lines]
    assert len(set(pairs)) == 50
