"""Draw `docs/overview.svg`: how propositions share their context. Run: python docs/overview.py.

The tree and its attention are those of `freelm.data.packing`, with words in the place of tokens.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from freelm.data.packing import Tree, attention_mask, build_tree

CONTEXT = ["The", "soup", "was", "cold", ".", "[sep]"]
CLAIMS = [
    ["Here", ",", "the", "guest", "is", "satisfied", ".", "[cls]"],
    ["Here", ",", "the", "guest", "is", "unhappy", ".", "[cls]"],
    ["The", "text", "is", "about", "sport", ".", "[cls]"],
]
CONTEXT_COLOUR, CLAIM_COLOUR, VERDICT_COLOUR = "#cfe0f5", "#fde3c8", "#c9e7cb"


def main() -> None:
    """Draw the tree on the left and its attention on the right."""
    words = sorted({word for text in (CONTEXT, *CLAIMS) for word in text})
    number = {word: i for i, word in enumerate(words)}
    tree = build_tree([number[w] for w in CONTEXT], [[number[w] for w in c] for c in CLAIMS])
    labels = [words[i] for i in tree.ids]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 4.6), width_ratios=(1.7, 1), layout="constrained"
    )
    _draw_tree(left, tree, labels)
    _draw_mask(right, tree, labels)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _draw_tree(axis: Axes, tree: Tree, labels: list[str]) -> None:
    """One box a token: across is its position, down are the branches of the claims."""
    lanes = _lanes(tree)
    parents = _parents(tree)
    for i, label in enumerate(labels):
        colour = CONTEXT_COLOUR if i < len(CONTEXT) else CLAIM_COLOUR
        if i in tree.leaves:
            colour = VERDICT_COLOUR
        place = (tree.positions[i], -lanes[i])
        box = {"boxstyle": "round,pad=0.25", "fc": colour, "ec": "#666"}
        axis.text(*place, label, ha="center", va="center", fontsize=8, bbox=box)
        if i:
            before = (tree.positions[parents[i]], -lanes[parents[i]])
            axis.plot(*zip(before, place, strict=True), color="#999", zorder=0, linewidth=1)
        if i in tree.leaves:
            axis.text(place[0] + 0.75, place[1], "P(true)", va="center", fontsize=9)
    axis.set_xlim(-0.7, max(tree.positions) + 2.3)
    axis.set_ylim(-max(lanes) - 0.7, 0.9)
    axis.set_title("One text, three claims, one pass: the text is read once", fontsize=10)
    axis.axis("off")


def _draw_mask(axis: Axes, tree: Tree, labels: list[str]) -> None:
    """Which token (row) sees which (column)."""
    mask = attention_mask(torch.tensor([tree.ends]))[0, 0]
    axis.imshow(mask, cmap="Blues", vmin=0, vmax=1.6)
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
    axis.set_yticks(range(len(labels)), labels, fontsize=6)
    axis.set_title("Each token sees the text and its own claim", fontsize=10)


def _parents(tree: Tree) -> list[int]:
    """The nearest token that each token sees."""
    return [max((j for j in range(i) if tree.ends[j] > i), default=0) for i in range(len(tree.ids))]


def _lanes(tree: Tree) -> list[int]:
    """A row of the drawing for each token: a new one where a branch starts."""
    lanes, last = [], 0
    parents = _parents(tree)
    for i in range(len(tree.ids)):
        if i and parents[i] != i - 1:
            last += 1
        lanes.append(last)
    return lanes


if __name__ == "__main__":
    main()
