from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freelm.data.packing import (
    Batch,
    Tree,
    attention_mask,
    build_tree,
    collate,
    pack_rows,
    token_budget_batches,
)

TOKEN = st.integers(1, 3)  # few tokens, so that claims often share a beginning
CONTEXT = st.lists(TOKEN, max_size=6)
CLAIMS = st.lists(st.lists(TOKEN, min_size=1, max_size=5), min_size=1, max_size=7)
TREES = st.lists(st.builds(build_tree, CONTEXT, CLAIMS), min_size=1, max_size=8)


def seen_from(ends: Sequence[int], index: int) -> list[int]:
    """Columns that a token attends to, by the mask of its row."""
    mask = attention_mask(torch.tensor([ends]))[0, 0, index]
    return mask.nonzero().flatten().tolist()


def parents(tree: Tree) -> list[int | None]:
    """Parent of each token, found from subtree ends alone."""
    found: list[int | None] = []
    for i in range(len(tree)):
        above = [j for j in range(i) if tree.ends[j] > i]
        found.append(max(above) if above else None)
    return found


@given(CONTEXT, CLAIMS)
def test_the_path_to_a_leaf_is_context_then_claim(
    context: list[int], claims: list[list[int]]
) -> None:
    tree = build_tree(context, claims)
    assert len(tree.leaves) == len(claims)
    for claim, leaf in zip(claims, tree.leaves, strict=True):
        path = seen_from(tree.ends, leaf)
        assert [tree.ids[i] for i in path] == [*context, *claim]
        assert [tree.positions[i] for i in path] == list(range(len(path)))


@given(CONTEXT, CLAIMS)
def test_claims_behind_a_context_have_the_positions_that_they_have_with_it(
    context: list[int], claims: list[list[int]]
) -> None:
    whole, behind = build_tree(context, claims), build_tree((), claims, start=len(context))
    assert behind.ids == whole.ids[len(context) :]
    assert behind.positions == whole.positions[len(context) :]
    assert [end + len(context) for end in behind.ends] == list(whole.ends[len(context) :])
    assert [leaf + len(context) for leaf in behind.leaves] == list(whole.leaves)


@given(CONTEXT, CLAIMS)
def test_a_beginning_that_claims_share_is_stored_once(
    context: list[int], claims: list[list[int]]
) -> None:
    tree = build_tree(context, claims)
    prefixes = {tuple(claim[:n]) for claim in claims for n in range(1, len(claim) + 1)}
    assert len(tree) == len(context) + len(prefixes)


@given(CONTEXT, CLAIMS)
def test_every_token_leads_to_a_leaf_and_ends_are_nested(
    context: list[int], claims: list[list[int]]
) -> None:
    tree = build_tree(context, claims)
    assert all(i < end <= len(tree) for i, end in enumerate(tree.ends))
    assert all(tree.ends[i] == len(tree) for i in range(len(context)))
    for i in range(len(context), len(tree)):
        assert any(i <= leaf < tree.ends[i] for leaf in tree.leaves)
    for i in range(len(tree)):
        for j in range(i + 1, len(tree)):  # subtrees lie within or beside one another
            assert j >= tree.ends[i] or tree.ends[j] <= tree.ends[i]


@given(CONTEXT, CLAIMS)
def test_the_mask_shows_a_token_its_ancestors_and_itself(
    context: list[int], claims: list[list[int]]
) -> None:
    tree = build_tree(context, claims)
    above = parents(tree)
    for i in range(len(tree)):
        ancestors, node = [i], above[i]
        while node is not None:
            ancestors.append(node)
            node = above[node]
        assert seen_from(tree.ends, i) == ancestors[::-1]
        assert tree.positions[i] == len(ancestors) - 1


@given(CONTEXT, CLAIMS, st.randoms(use_true_random=False))
def test_the_order_of_claims_changes_no_path(
    context: list[int], claims: list[list[int]], random: object
) -> None:
    order = list(range(len(claims)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = build_tree(context, claims), build_tree(context, [claims[i] for i in order])
    assert len(one) == len(other)
    for place, i in enumerate(order):
        path = [one.ids[n] for n in seen_from(one.ends, one.leaves[i])]
        assert [other.ids[n] for n in seen_from(other.ends, other.leaves[place])] == path


def test_equal_claims_share_a_leaf_and_a_prefix_is_a_leaf_within_the_longer_claim() -> None:
    tree = build_tree([7], [[1, 2], [1, 2], [1], [1, 3]])
    assert tree.ids == (7, 1, 2, 3)
    assert tree.positions == (0, 1, 2, 2)
    assert tree.ends == (4, 4, 3, 4)
    assert tree.leaves == (2, 2, 1, 3)


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 40))
def test_packing_rows_loses_nothing_and_exceeds_only_for_one_long_item(
    lengths: list[int], capacity: int
) -> None:
    rows = pack_rows(lengths, capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    for row in rows:
        assert len(row) == 1 or sum(lengths[i] for i in row) <= capacity


def test_packing_rows_fills_gaps() -> None:
    assert pack_rows([3, 5, 2, 5], 5) == [[1], [3], [0, 2]]


@given(TREES, st.integers(1, 60))
def test_collated_rows_hold_their_trees_and_nothing_sees_across(
    trees: list[Tree], capacity: int
) -> None:
    rows = pack_rows([len(tree) for tree in trees], capacity)
    batch = collate(trees, rows)
    mask = attention_mask(batch.ends)
    assert mask.shape == (len(rows), 1, batch.ids.shape[1], batch.ids.shape[1])
    assert batch.num_tokens == sum(map(len, trees))
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            tree, stop = trees[i], start + len(trees[i])
            assert batch.ids[r, start:stop].tolist() == list(tree.ids)
            assert batch.positions[r, start:stop].tolist() == list(tree.positions)
            own = attention_mask(torch.tensor([tree.ends]))[0, 0]
            assert torch.equal(mask[r, 0, start:stop, start:stop], own)
            assert not mask[r, 0, start:stop, :start].any()
            assert not mask[r, 0, start:stop, stop:].any()
            start = stop
        padding = mask[r, 0, start:]
        assert torch.equal(padding.nonzero()[:, 1], torch.arange(start, mask.shape[-1]))
        assert not batch.ids[r, start:].any()


@given(TREES, st.integers(1, 60))
def test_leaves_follow_the_order_of_trees_and_claims(trees: list[Tree], capacity: int) -> None:
    batch = collate(trees, pack_rows([len(tree) for tree in trees], capacity))
    mask = attention_mask(batch.ends)
    expected = [(tree, leaf) for tree in trees for leaf in tree.leaves]
    assert len(batch.leaves) == len(expected)
    for (r, c), (tree, leaf) in zip(batch.leaves.tolist(), expected, strict=True):
        path = [tree.ids[i] for i in seen_from(tree.ends, leaf)]
        assert batch.ids[r][mask[r, 0, c]].tolist() == path


@settings(max_examples=60)
@given(TREES, st.integers(1, 80), st.integers(1, 80))
def test_batches_keep_to_the_budget_and_hold_every_tree_once(
    trees: list[Tree], max_tokens: int, row_length: int
) -> None:
    batches = token_budget_batches(trees, max_tokens, row_length)
    assert sorted(i for indices, _ in batches for i in indices) == list(range(len(trees)))
    for indices, batch in batches:
        assert batch.num_tokens == sum(len(trees[i]) for i in indices)
        assert len(batch.leaves) == sum(len(trees[i].leaves) for i in indices)
        if batch.ids.numel() > max_tokens:
            assert len(indices) == 1
            assert len(trees[indices[0]]) > max_tokens


def test_rows_are_made_shorter_where_that_leaves_less_padding() -> None:
    trees = [build_tree(range(1, 40), [[7]]) for _ in range(9)]  # 40 tokens each
    [(_, batch)] = token_budget_batches(trees, 1000, 170)  # 4 + 4 + 1 trees in rows of 160
    assert batch.ids.shape == (3, 120)
    assert batch.num_tokens == 360
    [(_, batch)] = token_budget_batches(trees, 1000, 380)  # a row of 280 would be too short
    assert batch.ids.shape == (1, 360)


def test_no_trees_make_no_batches() -> None:
    assert token_budget_batches([], 100, 10) == []


def test_moving_a_batch_keeps_all_of_it() -> None:
    tree = build_tree([1, 2], [[3], [4, 5]])
    batch = collate([tree], [[0]])
    moved = batch.to("cpu")
    assert isinstance(moved, Batch)
    for name in ("ids", "positions", "ends", "leaves"):
        assert torch.equal(getattr(moved, name), getattr(batch, name))
    assert moved.num_tokens == 5


@pytest.mark.parametrize("size", [2_000])
def test_a_long_claim_needs_no_recursion(size: int) -> None:
    tree = build_tree([1], [list(range(2, size))])
    assert len(tree) == size - 1
    assert tree.positions == tuple(range(size - 1))
