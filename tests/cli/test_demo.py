import json
import re

import yaml

from freelm.config import differing_keys, parse_config
from freelm.train.trainer import Trainer

KEYS = [
    "arm",
    "seen_accuracy",
    "held_out_phrasing_accuracy",
    "unseen_family_accuracy",
    "unseen_family_majority",
    "perplexity",
    "tokens",
    "seconds",
]
BLOCK = 128
SHAPE = "{hidden_size: 16, intermediate_size: 32, num_layers: 1, num_heads: 2, vocab_size: 300}"
TINY = [
    "budget.tokens=1200",
    f"overrides.model.scratch={SHAPE}",
    "overrides.language.blocks_per_step=2",
    "overrides.teacher.examples_per_step=8",
    "overrides.teacher.validation_rows=4",
]
SETS = [word for change in TINY for word in ("--set", change)]


def test_the_demo_trains_both_arms_and_measures_them(
    cli, tmp_path, miniworld_is_small, monkeypatch
):
    out = tmp_path / "out"
    answer = cli("demo", "--out", out, *SETS, "--json")
    assert answer.code == 0
    rows = answer.json
    check_rows(rows)
    check_runs(out, rows)
    check_page((out / "demo.html").read_text())
    # The same command again trains nothing, and without --json it reports in words.
    monkeypatch.setattr(Trainer, "step", None)
    report = cli("demo", "--out", out, *SETS)
    assert report.code == 0
    assert "FreeLM on the miniworld" in report.out
    for row in rows:
        assert f"{row['tokens']:,}" in report.out
    assert "The park is where Nora is." in report.out
    assert f"page: {out / 'demo.html'}    model: {out / 'alternate/model'}" in report.err
    assert (out / "alternate/model/freelm.json").is_file()


def check_rows(rows):
    assert [list(row) for row in rows] == [KEYS, KEYS]
    alone, both = rows
    assert (alone["arm"], both["arm"]) == ("language_only", "alternate")
    for row in rows:
        for share in KEYS[1:5]:
            assert 0 <= row[share] <= 1
        assert row["unseen_family_majority"] >= 0.5
        assert 1 < row["perplexity"] < 10_000
        assert row["seconds"] > 0
    assert alone["unseen_family_majority"] == both["unseen_family_majority"]
    assert abs(alone["tokens"] - both["tokens"]) <= 2 * BLOCK  # one step of the language signal


def check_runs(out, rows):
    """The arms differ in their signals and steps only."""
    runs = [out / "arms" / row["arm"] / "seed-0" / "run" for row in rows]
    for row, run in zip(rows, runs, strict=True):
        records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
        assert row["tokens"] == sum(record["tokens"] for record in records)
    alone, both = (
        parse_config(yaml.safe_load((run / "config.yaml").read_text()), "") for run in runs
    )
    assert set(differing_keys(alone, both)) <= {"name", "interaction.kind", "train.num_steps"}


def check_page(page):
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == page.count("</svg>") == 4
    for arm in ("language_only", "alternate"):
        assert f">{arm}<" in page
    # Addresses may stand in it as names of XML vocabularies, but nothing is loaded from one.
    loads = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]*)""", page)
    assert all(target.startswith("#") for target in loads)
    assert not re.search(r"url\((?!#|&quot;#|'#)|@import|<script|<link|<iframe", page)


def test_a_bad_override_is_named(cli, tmp_path, miniworld_is_small):
    cli("demo", "--out", tmp_path, "--set", "budget.steps=3").refused("budget.steps: unknown key")
