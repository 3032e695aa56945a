import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from freelm.api import FreeLM
from freelm.errors import ModelError
from freelm.export.stock import write_stock
from freelm.model.loading import load_model
from freelm.model.saving import read_facts
from tiny_release import trained, verdicts

__all__ = ["trained"]


def test_plain_transformers_gives_the_same_verdicts(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    folder = tmp_path / "stock"
    write_stock(str(trained[0]), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer("A. [sep] It is true. [cls]", return_tensors="pt")
    with torch.no_grad():
        logits = model(**ids).logits[0, -1]
    false, true = tokenizer.convert_tokens_to_ids(["<|false|>", "<|true|>"])
    assert float(logits[true] - logits[false]) == pytest.approx(float(trained[1][0]), abs=1e-4)


def test_freelm_reads_the_folder(trained: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    write_stock(str(trained[0]), tmp_path / "stock")
    found = verdicts(load_model(str(tmp_path / "stock")).network)
    torch.testing.assert_close(found, trained[1], rtol=0, atol=1e-4)
    facts = read_facts(tmp_path / "stock")
    assert (facts.kind, facts.temperature) == ("full", 1.5)


def test_the_code_in_the_readme_gives_the_verdict_of_freelm(
    trained: tuple[Path, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_stock(str(trained[0]), Path("stock"))
    capsys.readouterr()
    exec(re.findall(r"```python\n(.*?)```", Path("stock/README.md").read_text(), re.DOTALL)[0], {})
    (verdict,) = FreeLM.from_pretrained("stock").judge(
        "The soup was cold.", ["The guest is satisfied."]
    )
    assert float(capsys.readouterr().out) == pytest.approx(verdict.probability, abs=1e-4)


def test_an_existing_folder_is_not_overwritten(
    trained: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="already exists"):
        write_stock(str(trained[0]), tmp_path)


def test_an_untrained_base_has_nothing_to_export(tiny_base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="untrained base"):
        write_stock(str(tiny_base_folder), tmp_path / "stock")
