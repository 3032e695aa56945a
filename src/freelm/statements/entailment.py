"""Source (a): entailed hypotheses of inference sets, people's own words for what a text says."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freelm.statements.changes import find_changes, negations
from freelm.statements.pairs import Pair, Pool, make_pairs, make_pool
from freelm.statements.text import finish, longest_common
from freelm.tasks.sources import read_table


@dataclass(frozen=True, slots=True)
class InferenceSet:
    """An entailment set of a data root: its folder, columns and label ids.

    Attributes:
        name: Folder below `teacher/`.
        premise: Column of the text.
        hypothesis: Column of the claim.
        entailed: Label of entailment.
        contradicted: Label of contradiction, None if the set has none.
        only_mined: Use only its own pairs of an entailed and another hypothesis of one premise.
    """

    name: str
    premise: str = "premise"
    hypothesis: str = "hypothesis"
    entailed: int = 0
    contradicted: int | None = 2
    only_mined: bool = False


SETS = (
    InferenceSet("snli_counterfactual"),
    InferenceSet("lingnli"),
    InferenceSet("mnli"),
    InferenceSet("snli"),
    InferenceSet("sick", "sentence_A", "sentence_B"),
    InferenceSet("rte", "sentence1", "sentence2", contradicted=None),
    InferenceSet("imppres", only_mined=True),
    InferenceSet("med", contradicted=None, only_mined=True),
    InferenceSet("equate"),
)
SIMILAR = 0.6
"""Share of words that two hypotheses of one premise must have in common to be a pair."""


def entailment_pairs(root: Path, seed: int) -> Iterator[Pair]:
    """Candidate pairs of all inference sets that the data root has."""
    for inference in SETS:
        path = root / "teacher" / inference.name / "train.parquet"
        if path.is_file():
            rows = [_cleaned(row, inference) for row in read_table(path).to_pylist()]
            rows = [row for row in rows if row["premise"] and row["hypothesis"]]
            yield from _mined(rows, inference)
            if not inference.only_mined:
                yield from _changed(rows, inference, seed)


def _cleaned(row: dict[str, Any], inference: InferenceSet) -> dict[str, Any]:
    premise = row[inference.premise] or ""
    hypothesis = row[inference.hypothesis] or ""
    return {
        "premise": finish(premise.replace("``", '"').replace("''", '"')) if premise.strip() else "",
        "hypothesis": finish(hypothesis.replace("``", '"').replace("''", '"'))
        if hypothesis.strip()
        else "",
        "label": row["label"],
    }


def _mined(rows: list[dict[str, Any]], inference: InferenceSet) -> Iterator[Pair]:
    """Pairs that people wrote: an entailed and another hypothesis of one premise, nearly alike."""
    by_premise = defaultdict(list)
    for row in rows:
        by_premise[row["premise"]].append(row)
    for premise, group in by_premise.items():
        entailed = [row["hypothesis"] for row in group if row["label"] == inference.entailed]
        others = [row for row in group if row["label"] != inference.entailed]
        for row in others:
            alike = [
                (longest_common(claim.lower().split(), row["hypothesis"].lower().split()), claim)
                for claim in entailed
            ]
            score, claim = max(alike, default=(0.0, ""))
            if score >= SIMILAR and claim.lower() != row["hypothesis"].lower():
                contradicts = row["label"] == inference.contradicted
                kind = "contradicted" if contradicts else "not_stated"
                yield Pair(premise, claim, row["hypothesis"], kind, inference.name, premise)


def _changed(rows: list[dict[str, Any]], inference: InferenceSet, seed: int) -> Iterator[Pair]:
    """Entailed hypotheses against a change, contradicted ones against their negation."""
    pool: Pool = make_pool({row["premise"]: None for row in rows})
    for number, row in enumerate(rows):
        rng = random.Random(f"{seed}/{inference.name}/{number}")
        premise, claim = row["premise"], row["hypothesis"]
        if not 3 <= len(claim.split()) <= 24 or "?" in claim:
            continue
        if row["label"] == inference.entailed:
            for change in find_changes(claim, premise, premise, rng)[:6]:
                yield from make_pairs(premise, claim, change, rng, inference.name, premise, pool)
        elif row["label"] == inference.contradicted:
            for change in negations(claim):
                yield Pair(premise, change.claim, claim, "negation", inference.name, premise)
