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
    "train.num_steps=4",
    f"model.scratch={SHAPE}",
    "language.blocks_per_step=2",
    "teacher.examples_per_step=8",
    "teacher.validation_rows=4",
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
    for row in rows:
        line = next(line for line in report.out.splitlines() if f" {row['arm']} " in line)
        for share in KEYS[1:5]:
            assert f"{100 * row[share]:.1f}%" in line
        assert f"{row['tokens']:,}" in line
    assert "The park is where Nora is." in report.out
    assert f"page: {out / 'demo.html'}" in report.err


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
    for row in rows:
        records = [json.loads(line) for line in (out / row["arm"] / "metrics.jsonl").open()]
        assert row["tokens"] == sum(record["tokens"] for record in records)
    alone, both = (
        parse_config(yaml.safe_load((out / row["arm"] / "config.yaml").read_text()), "")
        for row in rows
    )
    assert both.train.num_steps == 4
    assert set(differing_keys(alone, both)) <= {"name", "interaction.kind", "train.num_steps"}


def check_page(page):
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == page.count("</svg>") == 2
    for arm in ("language_only", "alternate"):
        assert f"<td>{arm}</td>" in page
    # Addresses may stand in it as names of XML vocabularies, but nothing is loaded from one.
    loads = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]*)""", page)
    assert all(target.startswith("#") for target in loads)
    assert not re.search(r"url\((?!#|&quot;#|'#)|@import|<script|<link|<iframe", page)


def test_a_bad_override_is_named(cli, tmp_path, miniworld_is_small):
    cli("demo", "--out", tmp_path, "--set", "train.steps=3").refused("train.steps: unknown key")
