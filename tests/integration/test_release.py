"""The release as a user gets it: its base is fetched, it is merged and judges as it did."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from freelm.api import FreeLM
from freelm.export.release import judge_propositions
from freelm.model import bases
from freelm.model.releases import RELEASES, VERDICTS_FILE, WEIGHTS, released_names
from freelm.model.saving import read_facts
from freelm.report.card import read_verdicts

releases = pytest.mark.parametrize("name", released_names())


@releases
def test_its_files_are_whole(name: str) -> None:
    folder = RELEASES / name
    facts = read_facts(folder)
    assert facts.kind == "adapter"
    assert facts.base_checksum
    assert facts.results
    assert facts.record["tasks"]
    for file in WEIGHTS:
        for key, weight in load_file(folder / file).items():
            assert weight.isfinite().all(), key


@releases
def test_it_is_right_about_most_of_the_propositions_that_it_ships_with(name: str) -> None:
    verdicts = read_verdicts(RELEASES / name / VERDICTS_FILE)
    assert len(verdicts) == 50
    right = [(v["probability"] >= 0.5) == v["truth"] for v in verdicts]
    assert sum(right) >= 40


@pytest.mark.network
@releases
def test_it_says_what_it_said_when_it_was_made(
    name: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = read_verdicts(RELEASES / name / VERDICTS_FILE)
    with monkeypatch.context() as patch:
        patch.setattr(bases, "is_offline_mode", lambda: False)
        judged = judge_propositions(name)
    for line, found in zip(stored, judged, strict=True):
        assert found["probability"] == pytest.approx(line["probability"], abs=2e-3), line["claim"]
    FreeLM.from_pretrained(name)  # merged by now: nothing is fetched any more
