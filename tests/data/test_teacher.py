from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.data.mixture import BLOCK, seeded
from freelm.data.teacher import (
    CACHED_EPOCHS,
    FORM_RATES,
    SCORE_STRATA,
    TeacherSignal,
    Variation,
    draw_claims,
    part_names,
    spread_evenly,
    with_neighbours,
)
from freelm.errors import ConfigError, DataError
from freelm.tasks import Example, Rows, Task
from freelm.tasks.forms import FORMS, wordings


def toy_task(name: str, labels: int = 2, opposites: bool = True, **changes: Any) -> Task:
    names = [f"l{i}" for i in range(labels)]

    def phrasing(word: str, **more: Any) -> dict[str, Any]:
        found = {"name": word, "claims": {n: f"{word} says {n}." for n in names}, **more}
        if opposites:
            found["opposites"] = {n: f"{word} denies {n}." for n in names}
        return found

    definition = {
        "name": name,
        "version": 1,
        "family": "toys",
        "question": "choice",
        "reference": "invented",
        "fields": {"text": "text"},
        "context": ["{text}"],
        "label": {"column": "label", "ids": {n: i for i, n in enumerate(names)}},
        "phrasings": [phrasing("One"), phrasing("Two"), phrasing("Held", held_out=True)],
        "metrics": ["accuracy"],
    }
    return Task.model_validate({**definition, **changes})


def toy_rows(task: Task, size: int) -> Rows:
    labels = len(task.label.ids)
    columns = {
        "text": [f"{task.name} {i}" for i in range(size)],
        "label": [i % labels for i in range(size)],
    }
    return Rows(task, "train", pa.table(columns), task.name)


@pytest.mark.parametrize("size", [1, 4, 6])
def test_rows_of_a_group_share_task_and_phrasing(size):
    tasks = [toy_rows(toy_task(name), 40) for name in ("one", "two")]
    signal = TeacherSignal(tasks, {}, seed=0, group_size=size)
    seen = set()
    for group in range(30):
        examples = [signal.example(group * size + place) for place in range(size)]
        name = signal.interleave.draw(group)[0]
        assert {e.id.split("/")[0] for e in examples} == {name}
        (word,) = {claim.split()[0] for e in examples for claim in e.claims}
        seen.add((name, word))
    assert seen == {(name, word) for name in ("one", "two") for word in ("One", "Two")}


@pytest.mark.parametrize("size", [1, 4, 6])
def test_every_row_is_drawn_once_per_epoch_for_any_group_size(size):
    signal = TeacherSignal([toy_rows(toy_task("toy"), 20)], {}, seed=0, group_size=size)
    rows = [row_of(signal.example(i).id) for i in range(60)]
    epochs = [rows[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_every_group_keeps_the_label_proportions():
    rows = toy_rows(toy_task("toy", labels=3), 60)
    signal = TeacherSignal([rows], {}, seed=0, group_size=6)
    for group in range(10):
        labels = [row_of(signal.example(group * 6 + i).id) % 3 for i in range(6)]
        assert max(Counter(labels).values()) <= 3
        assert len(set(labels)) == 3


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 5))
def test_strata_are_spread_evenly_over_an_order(strata, seed):
    order = spread_evenly(np.array(strata), seeded(seed))
    assert sorted(order.tolist()) == list(range(len(strata)))
    share = {s: n / len(strata) for s, n in Counter(strata).items()}
    counts: Counter[int] = Counter()
    for n, index in enumerate(order, start=1):
        counts[strata[index]] += 1
        assert all(abs(counts[s] - n * share[s]) <= 1 + len(share) for s in share)


def test_scores_are_spread_over_the_parts_of_their_scale():
    task = toy_task("toy")
    score = task.model_copy(update={"question": "score"})
    table = pa.table({"text": ["x"] * 40, "label": [float(i) for i in range(40)]})
    signal = TeacherSignal([Rows(score, "train", table, "f")], {}, seed=0)
    parts = signal._strata["toy"]
    assert Counter(parts.tolist()) == dict.fromkeys(range(SCORE_STRATA), 40 // SCORE_STRATA)
    assert sorted(parts.tolist()) == parts.tolist()


def test_a_row_without_text_is_skipped_and_recorded():
    rows = toy_rows(toy_task("toy"), 10)
    texts = ["" if i in (3, 4) else f"text {i}" for i in range(10)]
    column = rows.table.schema.get_field_index("text")
    holed = Rows(rows.task, "train", rows.table.set_column(column, "text", pa.array(texts)), "f")
    whole = TeacherSignal([rows], {}, seed=0)
    signal = TeacherSignal([holed], {}, seed=0)
    drawn = [(row_of(whole.example(i).id), row_of(signal.example(i).id)) for i in range(30)]
    assert {mine for asked, mine in drawn if asked in (3, 4)} == {5}
    assert all(asked == mine for asked, mine in drawn if asked not in (3, 4))
    assert sorted(signal.unusable) == ["toy/train/3", "toy/train/4"]


def test_a_task_of_rows_without_text_is_an_error():
    rows = toy_rows(toy_task("toy"), 10)
    column = rows.table.schema.get_field_index("text")
    bare = rows.table.set_column(column, "text", pa.array([""] * 10))
    with pytest.raises(DataError, match="100 consecutive rows cannot be used; the last: toy"):
        TeacherSignal([Rows(rows.task, "train", bare, "f")], {}, seed=0).example(0)


def row_of(example_id: str) -> int:
    return int(example_id.rpartition("/")[2])


# -- the teacher signal ---------------------------------------------------------------------------


def signal(**changes: Any) -> TeacherSignal:
    rows = [toy_rows(toy_task("small"), 30), toy_rows(toy_task("large", labels=6), 90)]
    return TeacherSignal(rows, changes.pop("excluded", {}), changes.pop("seed", 0), **changes)


def test_examples_do_not_depend_on_earlier_requests() -> None:
    forward, backward = signal(opposite_rate=0.5), signal(opposite_rate=0.5)
    examples = {i: forward.example(i) for i in range(200)}
    assert {i: backward.example(i) for i in reversed(range(200))} == examples
    assert backward.example(7) == examples[7]
    other = signal(opposite_rate=0.5, seed=1)
    assert [other.example(i) for i in range(200)] != list(examples.values())


def test_every_row_that_is_not_excluded_is_drawn_once_per_epoch() -> None:
    rows = toy_rows(toy_task("only"), 50)
    excluded = [0, 3, 4, 49]
    teacher = TeacherSignal([rows], {"only": excluded}, seed=2)
    assert teacher.sizes == {"only": 46}
    kept = sorted(set(range(50)) - set(excluded))
    for epoch in range(3):
        drawn = [row_of(teacher.example(epoch * 46 + i).id) for i in range(46)]
        assert sorted(drawn) == kept


def test_rates_use_the_remaining_rows_and_the_weights() -> None:
    teacher = signal(excluded={"large": range(30, 90)}, weights={"large": 3.0})
    counts = Counter(teacher.example(i).id.split("/")[0] for i in range(BLOCK))
    assert counts == {"small": BLOCK // 4, "large": BLOCK * 3 // 4}


def test_a_task_with_no_rows_left_is_rejected() -> None:
    with pytest.raises(ConfigError, match="'small': no training row is left"):
        signal(excluded={"small": range(30)})


def test_held_out_phrasings_are_never_drawn_and_all_others_are() -> None:
    teacher = signal(opposite_rate=0.3)
    words = {claim.split()[0] for i in range(400) for claim in teacher.example(i).claims}
    assert words == {"One", "Two"}


def test_claims_of_an_example_share_a_phrasing() -> None:
    teacher = signal()
    for i in range(100):
        assert len({claim.split()[0] for claim in teacher.example(i).claims}) == 1


def test_score_levels_are_not_mutually_exclusive() -> None:
    task = toy_task("graded", labels=3, question="score", metrics=["pearson"])
    teacher = TeacherSignal([toy_rows(task, 9)], {}, 0)
    assert not teacher.example(0).one_of
    assert signal().example(0).one_of


# -- drawing claims -------------------------------------------------------------------------------


def example_of(truths: tuple[float, ...], opposites: bool = True) -> Example:
    names = tuple(f"l{i}" for i in range(len(truths)))
    return Example(
        id="toy/train/0",
        context=("text",),
        labels=names,
        claims=tuple(f"is {n}" for n in names),
        opposites=tuple(f"not {n}" for n in names) if opposites else (),
        truths=truths,
        target=0,
    )


@given(st.integers(0, 9), st.integers(1, 12), st.integers(0, 99))
def test_the_true_claim_is_kept_and_false_ones_limited(true: int, limit: int, seed: int) -> None:
    example = example_of(tuple(float(i == true) for i in range(10)))
    drawn = draw_claims(example, seeded(seed), limit, 0.0, True)
    assert len(drawn.claims) == len(set(drawn.claims)) == 1 + min(limit, 9)
    assert dict(zip(drawn.claims, drawn.truths, strict=True))[f"is l{true}"] == 1.0
    assert sum(drawn.truths) == 1.0
    assert set(drawn.signs) == {1}
    assert list(drawn.claims) == [c for c in example.claims if c in drawn.claims]


def test_false_claims_are_diverse() -> None:
    example = example_of((1.0, *[0.0] * 9))
    pairs = Counter(
        claim
        for n in range(900)
        for claim in draw_claims(example, seeded(n), 3, 0.0, True).claims[1:]
    )
    assert len(pairs) == 9
    assert all(240 <= count <= 360 for count in pairs.values())  # 300 each by chance


def test_false_claims_vary_by_row_and_epoch() -> None:
    teacher = TeacherSignal([toy_rows(toy_task("wide", labels=20), 20)], {}, 0, max_false_claims=2)
    drawn: dict[int, set[frozenset[str]]] = {}
    for i in range(20 * 6):
        example = teacher.example(i)
        labels = frozenset(claim.split()[-1] for claim in example.claims)
        drawn.setdefault(row_of(example.id), set()).add(labels)
    assert all(len(sets) >= 4 for sets in drawn.values())


def test_all_partly_true_claims_are_kept() -> None:
    drawn = draw_claims(example_of((0.0, 0.6, 0.4, 0.0, 0.0)), seeded(0), 1, 0.0, False)
    assert len(drawn.claims) == 3
    assert {0.6, 0.4} < set(drawn.truths)


def test_an_opposite_flips_truth_and_sign() -> None:
    example = example_of((0.0, 0.75, 0.25, 0.0))
    all_swapped = draw_claims(example, seeded(0), 3, 1.0, False)
    assert all_swapped.claims == ("not l0", "not l1", "not l2", "not l3")
    assert all_swapped.truths == (1.0, 0.25, 0.75, 1.0)
    assert all_swapped.signs == (-1, -1, -1, -1)
    mixed = [draw_claims(example, seeded(n), 3, 0.5, False) for n in range(50)]
    for drawn in mixed:
        for i, (claim, truth, sign) in enumerate(
            zip(drawn.claims, drawn.truths, drawn.signs, strict=True)
        ):
            assert sign == (-1 if claim.startswith("not") else 1)
            assert truth == (example.truths[i] if sign > 0 else 1 - example.truths[i])  # type: ignore[index]
    share = np.mean([sign < 0 for drawn in mixed for sign in drawn.signs])
    assert 0.35 < share < 0.65


def test_without_opposites_nothing_is_swapped() -> None:
    drawn = draw_claims(example_of((1.0, 0.0), opposites=False), seeded(0), 3, 1.0, True)
    assert drawn.claims == ("is l0", "is l1")
    assert drawn.signs == (1, 1)


# -- forms, orders and changes ---------------------------------------------------------------------

WORDS: dict[str, Any] = {
    "asks": "Which is it?",
    "asks_if": "Is it {label}?",
    "descriptions": {"l0": "It is the first.", "l1": "It is the other."},
}
ENTAILMENT: dict[str, Any] = {
    "fields": {"premise": "text", "hypothesis": "more"},
    "context": ["{premise}", "{hypothesis}"],
    "statement": {"context": "premise", "claim": "hypothesis", "true": "l1"},
}


def pair_rows(size: int = 40, **changes: Any) -> Rows:
    task = toy_task("pair", **{**ENTAILMENT, **changes})
    columns = {
        "text": [f"text {i}" for i in range(size)],
        "more": [f"claim {i}" for i in range(size)],
        "label": [i % 2 for i in range(size)],
    }
    return Rows(task, "train", pa.table(columns), "pair")


def varied(rows: Rows, **settings: Any) -> TeacherSignal:
    known = {"forms": "sentences", "changes": "none", "swap_rate": 0.0, "level_mass": 0.0}
    return TeacherSignal([rows], {}, 0, variation=Variation.of(**{**known, **settings}))


def test_without_variation_only_sentences_are_drawn() -> None:
    rows = toy_rows(toy_task("toy", **WORDS), 30)
    plain, stated = TeacherSignal([rows], {}, 0), varied(rows)
    assert [plain.example(i) for i in range(90)] == [stated.example(i) for i in range(90)]


def test_forms_are_drawn_at_their_rates() -> None:
    rates = {"sentence": 2.0, "question": 1.0, "option": 1.0}
    teacher = varied(toy_rows(toy_task("toy", **WORDS), 50), forms=rates)
    drawn = Counter(
        "question" if "Is it" in claim else "option" if "Which" in claim else "sentence"
        for claim in (teacher.example(i).claims[0] for i in range(2000))
    )
    assert drawn["sentence"] == pytest.approx(1000, abs=80)
    assert drawn["question"] == pytest.approx(500, abs=70)


def test_every_form_is_drawn_and_missing_forms_fall_back() -> None:
    assert list(FORM_RATES) == list(FORMS)
    rows = toy_rows(toy_task("toy", **WORDS), 50)
    teacher = varied(rows, forms="all")
    claims = {claim for i in range(3000) for claim in teacher.example(i).claims}
    assert {"One says l0.", "Two denies l1.", "Is it l0? Yes.", "Is it l1? No."} < claims
    assert {"Which is it? L0.", "Here, the text is about l1.", "It is the first."} < claims
    assert "Which is it? It is the other." in claims
    assert not any(claim.startswith("Held") for claim in claims)
    lacking = varied(toy_rows(toy_task("bare"), 20), forms={"statement": 1.0})
    assert lacking.example(3).claims[0].split()[0] in ("One", "Two")


def test_forms_depend_only_on_seed_and_index() -> None:
    settings = {"forms": "all", "changes": "all", "swap_rate": 0.5}
    rows = pair_rows(symmetric=["premise", "hypothesis"], statement=None)
    forward, backward = varied(rows, **settings), varied(rows, **settings)
    examples = {i: forward.example(i) for i in range(200)}
    assert {i: backward.example(i) for i in reversed(range(200))} == examples


def test_a_statement_is_one_claim_about_the_premise_alone() -> None:
    teacher = varied(pair_rows(), forms={"statement": 1.0})
    for i in range(80):
        example = teacher.example(i)
        number = row_of(example.id)
        assert example.context == (f"text {number}",)
        assert (example.claims, example.truths) == ((f"claim {number}.",), (float(number % 2),))
        assert not example.one_of


def test_claims_and_opposites_are_mixed_in_the_form_opposite() -> None:
    teacher = varied(toy_rows(toy_task("toy"), 40), forms={"opposite": 1.0})
    signs = [sign for i in range(400) for sign in teacher.example(i).signs]
    assert np.mean(signs) == pytest.approx(0, abs=0.1)
    for i in range(100):
        example = teacher.example(i)
        for claim, truth, sign in zip(example.claims, example.truths, example.signs, strict=True):
            right = claim.rstrip(".").endswith(f"l{row_of(example.id) % 2}")
            assert (sign < 0) == ("denies" in claim)
            assert truth == float(right == (sign > 0))


def test_symmetric_pairs_are_drawn_in_both_orders() -> None:
    rows = pair_rows(symmetric=["premise", "hypothesis"], statement=None)
    teacher = varied(rows, swap_rate=0.5)
    first = [teacher.example(i).context[0].split()[0] for i in range(400)]
    assert first.count("claim") == pytest.approx(200, abs=40)
    assert {c.split()[0] for c in varied(rows).example(0).context} == {"text", "claim"}
    ordered = varied(pair_rows(), swap_rate=1.0)
    assert ordered.example(0).context[0].startswith("text")


def test_parts_are_named_after_their_fields() -> None:
    task = pair_rows().task
    assert part_names(task, wordings(task, "sentence")[0]) == ["Premise", "Hypothesis"]
    assert part_names(task, wordings(task, "statement")[0]) == ["Premise"]
    mixed = toy_task("toy", context=["A {text}"])
    assert part_names(mixed, wordings(mixed, "sentence")[0]) == []


def test_changes_reach_the_context() -> None:
    teacher = varied(toy_rows(toy_task("toy"), 9), changes={"upper_case": 1.0})
    assert teacher.example(0).context[0].startswith("TOY")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=7), st.floats(0, 0.3))
def test_neighbouring_levels_get_mass_and_the_sum_stays(truths: list[float], mass: float) -> None:
    spread = with_neighbours(truths, mass)
    assert sum(spread) == pytest.approx(sum(truths))
    assert with_neighbours(truths, 0.0) == pytest.approx(truths)


def test_a_score_has_ordinal_targets() -> None:
    assert with_neighbours((0.0, 0.0, 1.0, 0.0), 0.1) == pytest.approx((0.0, 0.1, 0.8, 0.1))
    assert with_neighbours((1.0, 0.0, 0.0), 0.1) == pytest.approx((0.9, 0.1, 0.0))
    task = toy_task("graded", labels=3, question="score", metrics=["pearson"], opposites=False)
    example = varied(toy_rows(task, 9), level_mass=0.1).example(0)
    assert sum(example.truths) == pytest.approx(1.0)
    assert max(example.truths) in (pytest.approx(0.8), pytest.approx(0.9))


def test_a_task_weight_is_a_factor_on_its_rate() -> None:
    rows = [toy_rows(toy_task("plain"), 30), toy_rows(toy_task("noisy", weight=0.5), 30)]
    teacher = TeacherSignal(rows, {}, 0)
    counts = Counter(teacher.example(i).id.split("/")[0] for i in range(BLOCK))
    assert counts["plain"] == pytest.approx(2 * counts["noisy"], abs=2)


@pytest.mark.parametrize(("key", "name"), [("forms", "sentance"), ("changes", "typo")])
def test_an_unknown_form_or_change_is_named(key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"teacher\.{key}: unknown '{name}'; did you mean"):
        varied(toy_rows(toy_task("toy"), 9), **{key: {name: 1.0}})


def test_the_orders_of_past_epochs_are_dropped() -> None:
    teacher = TeacherSignal([toy_rows(toy_task("toy"), 7)], {}, 0)
    examples = [teacher.example(i) for i in range(70)]
    assert len(teacher._orders["toy"]) == CACHED_EPOCHS
    assert teacher.example(0) == examples[0]
