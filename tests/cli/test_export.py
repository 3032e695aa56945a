import json
from pathlib import Path

import pytest
import torch

from freelm.eval.results import write_results
from freelm.model.loading import load_model
from freelm.model.saving import read_facts
from tiny_freelm import Cli, cli, freelm_folder
from tiny_release import trained

__all__ = ["cli", "freelm_folder", "trained"]


def test_a_stock_folder_can_be_judged_with(
    cli: Cli, trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    answer = cli("export", trained[0], "--out", out)
    assert (answer.code, answer.out) == (0, f"{out}\n")
    assert load_model(str(out)).facts.kind == "full"


def test_a_release_says_its_size(
    cli: Cli, trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    answer = cli("export", trained[0], "--format", "release", "--out", tmp_path / "out")
    assert (answer.code, answer.err) == (0, "0.0 MB of at most 25 MB\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--evaluations", "x", "--out", "y"], 2, "--evaluations goes with --format release"),
        (["--format", "release", "--out", "y"], 1, "has no adapter"),
    ],
)
def test_what_cannot_be_is_said(
    cli: Cli, freelm_folder: Path, arguments: list[str], code: int, message: str
) -> None:
    answer = cli("export", freelm_folder, *arguments)
    assert answer.code == code
    assert message in answer.err


def test_a_card_is_written_from_a_model_and_its_evaluation(
    cli: Cli, freelm_folder: Path, tmp_path: Path
) -> None:
    write_results([], tmp_path / "evaluation")
    facts = {"command": "freelm eval x", "record": read_facts(freelm_folder).record}
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(facts))
    arguments = ["--evaluations", tmp_path / "evaluation", "--out", tmp_path / "docs" / "CARD.md"]
    assert "give --data" in cli("card", freelm_folder, *arguments).err
    arguments = ["--data", "miniworld", *arguments]
    answer = cli("card", freelm_folder, *arguments)
    assert answer.code == 0, answer.err
    text = (tmp_path / "docs" / "CARD.md").read_text()
    assert text.startswith("# Model card: ")
    answer = cli("card", freelm_folder, *arguments[:-1], tmp_path / "evaluation" / "x" / "y.md")
    assert answer.code == 0
    answer = cli("card", freelm_folder, *arguments[:-1], tmp_path)
    assert (answer.code, "cannot be written" in answer.err) == (1, True)
