"""The training step: two signals take turns on one model.

    raw text -> blocks -------------> LanguageBatch -> language_loss
    row -> propositions -> trees ---> Batch ---------> teacher_loss     turn(step) picks the signal

`Trainer` performs single steps; `freelm.train.run` builds a run around it.
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

from freelm.config import RunConfig
from freelm.data.packing import Batch, token_budget_batches
from freelm.data.teacher import TeacherExample, TeacherSignal
from freelm.data.text import LanguageBatch, LanguageSignal
from freelm.errors import TrainingError
from freelm.model.compute.compiling import compile_network
from freelm.model.compute.device import find_device
from freelm.model.compute.precision import autocast
from freelm.model.network import FreeLMNetwork
from freelm.train.distributed import ProcessGroup
from freelm.train.objective import TeacherObjective, build_objective
from freelm.train.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from freelm.train.schedule import Turn, turn

StepBatch = LanguageBatch | tuple[list[TeacherExample], Batch]


@dataclass(frozen=True)
class StepData:
    """The batches that one process computes in a step.

    Attributes:
        turn: Which signals the step trains, and their ordinals.
        language: Batches of blocks.
        num_targets: Predicted tokens of the step over all processes.
        teacher: Batches of trees with their examples.
    """

    turn: Turn
    language: list[LanguageBatch]
    num_targets: int
    teacher: list[tuple[list[TeacherExample], Batch]]

    @property
    def num_tokens(self) -> int:
        """Tokens of this process, without padding."""
        return self.num_language_tokens + sum(batch.num_tokens for _, batch in self.teacher)

    @property
    def num_language_tokens(self) -> int:
        """Tokens of the language signal in this process."""
        return sum(b.batch.num_tokens for b in self.language)


class StepLoss(nn.Module):
    """The summed loss of a batch as a forward pass, which DDP can wrap.

    Args:
        network: The network.
        objective: The objective of the teacher signal, if there is one.
    """

    def __init__(self, network: FreeLMNetwork, objective: TeacherObjective | None) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: StepBatch | None) -> torch.Tensor:
        """The loss, a scalar; without a batch 0, with a gradient of 0 for each trained weight."""
        if batch is None:
            trained = [p for p in self.network.parameters() if p.requires_grad]
            return torch.stack([0.0 * p.float().sum() for p in trained]).sum()
        if isinstance(batch, LanguageBatch):
            return self.network.language_loss(batch.to(self.network.device))
        assert self.objective is not None
        examples, trees = batch
        return self.objective.loss(self.network, examples, trees.to(self.network.device))


class Trainer:
    """Performs the steps of a run.

    Args:
        config: The run's configuration.
        network: The network to train.
        language: The language signal, if the interaction uses it.
        teacher: The teacher signal, if the interaction uses it.
        group: The processes of the run.
    """

    def __init__(
        self,
        config: RunConfig,
        network: FreeLMNetwork,
        language: LanguageSignal | None,
        teacher: TeacherSignal | None,
        group: ProcessGroup,
    ) -> None:
        self.config = config
        self.network = network.to(find_device(None)).train()
        if config.train.checkpoint_activations:
            network.causal.activation_checkpointing_enable({"use_reentrant": False})
        self.language = language
        self.teacher = teacher
        self.group = group
        self.objective = build_objective(config.teacher, network.form) if config.teacher else None
        self.optimizer = build_optimizer(network, config.optimizer)
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._ahead: tuple[int, Future[StepData]] | None = None

    # -- data ------------------------------------------------------------------------------------

    def prepare(self, step: int) -> StepData:
        """The data of a step: a pure function of (seed, step)."""
        whose = turn(self.config.interaction, step)
        language: list[LanguageBatch] = []
        num_targets = 0
        if whose.language is not None:
            language, num_targets = self._language_batches(whose.language)
        teacher = [] if whose.teacher is None else self._teacher_batches(whose.teacher)
        return StepData(whose, language, num_targets, teacher)

    def _language_batches(self, ordinal: int) -> tuple[list[LanguageBatch], int]:
        assert self.language is not None
        assert self.config.language is not None
        count = self.config.language.blocks_per_step
        indices = range(ordinal * count, (ordinal + 1) * count)
        num_targets = self.language.batch(indices).num_targets
        own = self.group.share(indices)
        at_once = max(1, self.config.train.tokens_per_batch // self.language.block_length)
        groups = [own[i : i + at_once] for i in range(0, len(own), at_once)]
        return [self.language.batch(group) for group in groups], num_targets

    def _teacher_batches(self, ordinal: int) -> list[tuple[list[TeacherExample], Batch]]:
        assert self.teacher is not None
        assert self.config.teacher is not None
        assert self.objective is not None
        count = self.config.teacher.examples_per_step
        indices = self.group.share(range(ordinal * count, (ordinal + 1) * count))
        examples = [self.teacher.example(index) for index in indices]
        trees = [self.objective.tree(example) for example in examples]
        loop = self.config.train
        batches = token_budget_batches(trees, loop.tokens_per_batch, loop.row_length)
        return [([examples[i] for i in chosen], batch) for chosen, batch in batches]

    def _data(self, step: int) -> StepData:
        """The data of a step, prepared in the background during the previous step."""
        if self._ahead is not None and self._ahead[0] == step:
            data = self._ahead[1].result()
        else:
            self.settle()
            data = self.prepare(step)
        if step + 1 < self.config.train.num_steps:
            self._ahead = (step + 1, self._worker.submit(self.prepare, step + 1))
        return data

    def settle(self) -> None:
        """Wait for background preparation to finish: a tokenizer is not thread-safe."""
        if self._ahead is not None:
            self._ahead[1].result()

    # -- steps -----------------------------------------------------------------------------------

    def step(self, step: int) -> dict[str, Any]:
        """Perform one optimizer step.

        Returns:
            The step's line of `metrics.jsonl`.

        Raises:
            TrainingError: If a loss is not finite; the message names the examples, and the weights
                are unchanged.
        """
        self._compile_once()
        begin = time.monotonic()
        data = self._data(step)
        # Dropout depends on the step alone, so that a resumed run repeats it.
        torch.manual_seed((self.config.seed * 1_000_003 + step) * self.group.size + self.group.rank)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(step, data)
        norm = clip_gradients(self.optimizer, self.config.optimizer.clip_norm)
        if not math.isfinite(norm):
            raise TrainingError(f"step {step}: the gradient is not finite ({self._names(data)})")
        rate = learning_rate(self.config.optimizer, step, self.config.train.num_steps)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        return {
            "step": step,
            "signal": data.turn.name,
            **losses,
            "tokens": int(self.group.sum(data.num_tokens)),
            "language_tokens": int(self.group.sum(data.num_language_tokens)),
            "learning_rate": rate,
            "gradient_norm": norm,
            "seconds": time.monotonic() - begin,
        }

    def _compile_once(self) -> None:
        """Compile before the first step: a run that only has to be finished needs no compiler."""
        if self.config.train.compile and not self.network.compiled:
            with autocast(self.network.device, self.config.model.precision):
                compile_network(self.network)

    def _backward(self, step: int, data: StepData) -> dict[str, float]:
        """Compute the gradients of a step; return the mean loss of each signal.

        Losses are divided by the counts of the whole step and DDP averages over the processes,
        hence the factor of their number. Losses are read at the end: reading one waits for a GPU.
        """
        batches = self._weighted_batches(data)
        losses: dict[str, list[torch.Tensor]] = {name: [] for name in self._counts(data)}
        for number, (name, weight, batch) in enumerate(batches, 1):
            with self._no_sync() if number < len(batches) else nullcontext():
                with autocast(self.network.device, self.config.model.precision):
                    loss = self._loss(batch)
                (loss * (weight * self.group.size)).backward()
            losses[name].append(loss.detach())
        if not batches:
            self._loss(None).backward()
        return {
            f"{name}_loss": self._total(step, data, losses[name]) / count
            for name, count in self._counts(data).items()
        }

    def _counts(self, data: StepData) -> dict[str, int]:
        """Signal -> number of predicted tokens or examples of the step over all processes."""
        counts = {}
        if data.turn.language is not None:
            counts["language"] = data.num_targets
        if data.turn.teacher is not None:
            assert self.config.teacher is not None
            counts["teacher"] = self.config.teacher.examples_per_step
        return counts

    def _weighted_batches(self, data: StepData) -> list[tuple[str, float, StepBatch]]:
        """(signal, weight of its summed loss, batch) of all batches of this process."""
        interaction, counts = self.config.interaction, self._counts(data)
        signals: list[tuple[str, float, Sequence[StepBatch]]] = [
            ("language", interaction.language_weight, data.language),
            ("teacher", interaction.teacher_weight, data.teacher),
        ]
        return [
            (name, weight / counts[name], batch)
            for name, weight, batches in signals
            for batch in batches
        ]

    @cached_property
    def _loss(self) -> nn.Module:
        return self.group.wrap(StepLoss(self.network, self.objective))

    def _no_sync(self) -> AbstractContextManager[None]:
        return self._loss.no_sync() if isinstance(self._loss, DDP) else nullcontext()

    def _total(self, step: int, data: StepData, losses: Sequence[torch.Tensor]) -> float:
        """The sum of losses over all processes, which all raise if it is not finite."""
        own = sum(float(loss) for loss in losses)
        total = self.group.sum(own)
        if not math.isfinite(total):
            names = self._names(data) if not math.isfinite(own) else "in another process"
            raise TrainingError(f"step {step}: the loss is {total} ({names})")
        return total

    def _names(self, data: StepData) -> str:
        """The examples and blocks of a step, for an error message."""
        names = [example.id for examples, _ in data.teacher for example in examples]
        if data.turn.language is not None and self.language and self.config.language:
            count = self.config.language.blocks_per_step
            first = data.turn.language * count
            places = [self.language.block_at(index) for index in range(first, first + count)]
            names += [f"{corpus} block {block}" for corpus, block in places]
        return ", ".join(names)

    def close(self) -> None:
        """Stop the background preparation."""
        self._worker.shutdown(wait=True, cancel_futures=True)
