"""Objectives of the teacher signal: verdicts of propositions, or the words of the label."""

from collections.abc import Sequence
from typing import Protocol

import torch

from freelm.config import TeacherConfig
from freelm.data.label_word_form import label_word_form
from freelm.data.packing import Batch, Tree, build_tree
from freelm.data.teacher import TeacherExample
from freelm.data.text import IGNORED, LanguageBatch
from freelm.data.tokens import TextForm
from freelm.model.network import FreeLMNetwork
from freelm.train.losses import teacher_loss


class TeacherObjective(Protocol):
    """How an example becomes tokens, and its loss."""

    def tree(self, example: TeacherExample) -> Tree:
        """The tokens of an example."""

    def loss(
        self, network: FreeLMNetwork, examples: Sequence[TeacherExample], batch: Batch
    ) -> torch.Tensor:
        """Summed loss of the examples of a batch."""


def build_objective(config: TeacherConfig, form: TextForm) -> TeacherObjective:
    """The objective that a configuration asks for.

    Args:
        config: The teacher section of the configuration.
        form: How the network writes propositions.
    """
    return (
        LabelWordObjective(config, form)
        if config.target == "label_words"
        else VerdictObjective(config, form)
    )


class VerdictObjective:
    """A context and its claims as a tree; a verdict is trained at the end of each claim."""

    def __init__(self, config: TeacherConfig, form: TextForm) -> None:
        self.config, self.form = config, form

    def tree(self, example: TeacherExample) -> Tree:
        """The context once, followed by its claims."""
        context = self.form.context(example.context, self.config.max_context_tokens)
        return build_tree(context.ids, [self.form.claim(claim) for claim in example.claims])

    def loss(
        self, network: FreeLMNetwork, examples: Sequence[TeacherExample], batch: Batch
    ) -> torch.Tensor:
        """Cross-entropy of the verdicts (`freelm.train.losses.teacher_loss`)."""
        return teacher_loss(network.margins(batch), examples, self.config.listwise_weight)


class LabelWordObjective:
    """A context and the words of its correct label; only these words are predicted.

    For a graded score the target is the nearest level.
    """

    def __init__(self, config: TeacherConfig, form: TextForm) -> None:
        self.config, self.form = config, label_word_form(form)

    def tree(self, example: TeacherExample) -> Tree:
        """A chain of tokens; each token of the answer is a leaf, so the batch records its position.

        The claims of the example are label words (`freelm.tasks.label_word_task`).
        """
        context = self.form.context(example.context, self.config.max_context_tokens)
        answer = self.form.claim(example.claims[example.truths.index(max(example.truths))])
        return build_tree(context.ids, [answer[:length] for length in range(1, len(answer) + 1)])

    def loss(
        self, network: FreeLMNetwork, examples: Sequence[TeacherExample], batch: Batch
    ) -> torch.Tensor:
        """Negative log-likelihood of the answers."""
        rows, columns = batch.leaves.unbind(1)
        targets = torch.full_like(batch.ids, IGNORED)
        targets[rows, columns - 1] = batch.ids[rows, columns]
        return network.language_loss(LanguageBatch(batch, targets))
