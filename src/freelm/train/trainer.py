"""The training step: two signals take turns on one model.

    raw text -> blocks -------------> LanguageBatch -> language_loss
    row -> propositions -> trees ---> Batch ---------> teacher_loss     turn(step) picks the signal

`Trainer` performs single steps; `freelm.train.run` builds a run around it.
"""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

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
from freelm.train.objective import build_objective
from freelm.train.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from freelm.train.schedule import Turn, turn


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
        losses = {}
        if data.turn.language is not None:
            losses["language_loss"] = self._language_backward(data, step)
        if data.turn.teacher is not None:
            losses["teacher_loss"] = self._teacher_backward(data, step)
        self.group.sum_gradients(self.trained)
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

    def _language_backward(self, data: StepData, step: int) -> float:
        total = 0.0
        scale = self.config.interaction.language_weight / data.num_targets
        for batch in data.language:
            with autocast(self.network.device, self.config.model.precision):
                loss = self.network.language_loss(batch.to(self.network.device))
            total += self._finite(loss, step, data)
            (loss * scale).backward()
        return self.group.sum(total) / data.num_targets

    def _teacher_backward(self, data: StepData, step: int) -> float:
        assert self.config.teacher is not None
        assert self.objective is not None
        count = self.config.teacher.examples_per_step
        total = 0.0
        scale = self.config.interaction.teacher_weight / count
        for examples, batch in data.teacher:
            with autocast(self.network.device, self.config.model.precision):
                loss = self.objective.loss(self.network, examples, batch.to(self.network.device))
            total += self._finite(loss, step, data)
            (loss * scale).backward()
        return self.group.sum(total) / count

    def _finite(self, loss: torch.Tensor, step: int, data: StepData) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"step {step}: the loss is {value} ({self._names(data)})")
        return value

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
