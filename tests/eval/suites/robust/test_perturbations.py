import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.data.mixture import seeded
from freelm.eval.suites.robust.perturbations import (
    PERTURBATIONS,
    claims_only,
    joined_fields,
    last_field_only,
    named_fields,
    reordered_fields,
    shuffled_options,
    shuffled_words,
    with_opposites,
)
from freelm.tasks import Example, default_registry

PAIR = Example(
    "rte/test/7",
    ("A long text, about something; it goes on.", "The other one."),
    ("yes", "no", "maybe"),
    ("It is so.", "It is not so.", "It may be so."),
    ("It is not so at all.", "It is so after all.", "It is clear."),
    (0.0, 1.0, 0.0),
    1.0,
)
texts = st.text(alphabet="abcdefgh ,.;'é ", min_size=1, max_size=80)


@pytest.mark.parametrize("perturbation", PERTURBATIONS, ids=lambda p: p.name)
def test_a_change_is_a_pure_function_of_example_and_seed(perturbation):
    first = perturbation(PAIR, 3)
    assert perturbation(PAIR, 3) == first
    assert (perturbation(PAIR, 4) == first) or perturbation.drawn
    assert first.id == PAIR.id
    assert (first.claims, first.labels, first.target) == (PAIR.claims, PAIR.labels, PAIR.target)


@pytest.mark.parametrize("perturbation", PERTURBATIONS, ids=lambda p: p.name)
def test_every_change_changes_something_and_leaves_a_text(perturbation):
    changed = {perturbation(PAIR, seed).context for seed in range(20)}
    assert changed != {PAIR.context}
    assert all(context and all(part.strip() for part in context) for context in changed)


def test_names_are_file_names_and_differ():
    names = [p.name for p in PERTURBATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


@given(texts, st.integers(0, 100))
def test_shuffling_keeps_the_words(text, seed):
    shuffled = shuffled_words(text, seeded(seed))
    assert Counter(shuffled.split()) == Counter(text.split())


def test_fields():
    assert named_fields(PAIR).context[1] == "The second text: The other one."
    assert reordered_fields(PAIR).context == named_fields(PAIR).context[::-1]
    assert joined_fields(PAIR).context == ("\n".join(PAIR.context),)
    assert last_field_only(PAIR).context == PAIR.context[1:]
    assert claims_only(PAIR).context != PAIR.context


def test_changes_of_fields_are_for_tasks_with_several():
    registry = default_registry()
    applied = {p.name: p for p in PERTURBATIONS}
    assert applied["fields-reordered"].applies(registry.get("rte"))
    assert not applied["fields-reordered"].applies(registry.get("sst2"))
    assert applied["last-field-only"].control
    assert applied["claims-only"].applies(registry.get("miniworld_qa"))
    assert not applied["claims-only"].applies(registry.get("rte"))


@given(st.integers(0, 1000))
def test_the_right_option_stays_right_in_any_order(seed):
    changed = shuffled_options(PAIR, seeded(seed))
    assert sorted(changed.claims) == sorted(PAIR.claims)
    place = int(changed.target)
    assert changed.claims[place] == PAIR.claims[1]
    assert changed.labels[place] == PAIR.labels[1]
    assert changed.opposites[place] == PAIR.opposites[1]
    assert changed.truths[place] == 1.0


def test_opposites_follow_the_claims():
    assert with_opposites(PAIR).claims == (*PAIR.claims, *PAIR.opposites)
