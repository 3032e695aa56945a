"""How many steps a budget allows.

Tokens are counted before training: the content of a step is a pure function of seed and step.
Seconds per step are measured in a short pilot run. Either way the number of steps is known at the
start, so that the learning rate schedule ends with the budget.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from itertools import count, repeat
from pathlib import Path

from freelm.compare.config import Budget
from freelm.config import RunConfig
from freelm.train.build import build_network
from freelm.train.folder import read_metrics
from freelm.train.objective import build_objective
from freelm.train.run import train
from freelm.train.schedule import Turn, turn
from freelm.train.signals import build_teacher_signal, load_battery, tokenizer_texts

DEFAULT_SHARE = 0.5
"""Language share of `sequential`."""

SAMPLE = 512
"""Examples whose mean length sets the number of examples for a language share."""

PILOT_ROUNDS = 3
PILOT_STEPS = 8
"""A pilot run takes this many rounds of both signals, and at least this many steps."""

Cost = Callable[[Turn], float]


class ExampleLengths:
    """Token counts of the teacher's examples, in the order in which a run draws them.

    Args:
        run: Its seed, model (for the tokenizer) and teacher signal matter.
        data_root: Where its data is.
    """

    def __init__(self, run: RunConfig, data_root: Path | None) -> None:
        assert run.teacher is not None
        battery = load_battery(run.teacher, data_root)
        network, _ = build_network(run.model, tokenizer_texts(run, data_root, battery), run.seed)
        self._signal = build_teacher_signal(run.teacher, battery, run.seed)
        self._objective = build_objective(run.teacher, network.form)
        self._lengths: list[int] = []

    def total(self, start: int, stop: int) -> int:
        """Tokens of the examples with indices in `range(start, stop)`."""
        for index in range(len(self._lengths), stop):
            self._lengths.append(len(self._objective.tree(self._signal.example(index))))
        return sum(self._lengths[start:stop])


class Planner:
    """Sets the number of steps of runs under one budget.

    Args:
        budget: Tokens or seconds.
        data_root: Where the data is.
        say: Receives progress messages.
    """

    def __init__(self, budget: Budget, data_root: Path | None, say: Callable[[str], None]) -> None:
        self.budget, self.data_root, self.say = budget, data_root, say
        self._lengths: dict[str, ExampleLengths] = {}

    def plan(self, run: RunConfig, share: float | None, folder: Path, parts: int = 1) -> RunConfig:
        """The run with the number of steps, at least one, that comes closest to the budget.

        Args:
            run: A run whose number of steps is open.
            share: Language share, for `mixed` and `sequential`.
            folder: Where a pilot run may be written; it is deleted again.
            parts: The run gets one of this many equal parts of the budget.
        """
        if run.interaction.kind == "mixed" and share is not None:
            run = self._with_share(run, share)
        if self.budget.tokens is not None:
            return _fill(run, share, self.budget.tokens / parts, self._token_cost(run))
        assert self.budget.seconds is not None
        cost = self._second_cost(run, folder / "pilot")
        return _fill(run, share, self.budget.seconds / parts, cost)

    def _with_share(self, run: RunConfig, share: float) -> RunConfig:
        """The run with about the same number of tokens per step, `share` of them raw text."""
        assert run.language is not None
        assert run.teacher is not None
        example = self._lengths_of(run).total(0, SAMPLE) / SAMPLE
        block = run.language.block_length
        size = block * run.language.blocks_per_step + example * run.teacher.examples_per_step
        blocks = max(1, round(share * size / block))
        examples = max(1, round(blocks * block * (1 - share) / share / example))
        language = run.language.model_copy(update={"blocks_per_step": blocks})
        teacher = run.teacher.model_copy(update={"examples_per_step": examples})
        return run.model_copy(update={"language": language, "teacher": teacher})

    def _lengths_of(self, run: RunConfig) -> ExampleLengths:
        """Lengths of a run's examples, cached for all runs that draw the same examples."""
        assert run.teacher is not None
        corpora = list(run.language.corpora) if run.language else []
        teacher = run.teacher.model_dump(exclude={"examples_per_step", "listwise_weight"})
        key = json.dumps([run.seed, run.model.model_dump(), corpora, teacher])
        if key not in self._lengths:
            self.say(f"{run.name}: counting tokens")
            self._lengths[key] = ExampleLengths(run, self.data_root)
        return self._lengths[key]

    def _token_cost(self, run: RunConfig) -> Cost:
        def cost(whose: Turn) -> float:
            tokens = 0
            if whose.language is not None and run.language is not None:
                tokens += run.language.block_length * run.language.blocks_per_step
            if whose.teacher is not None and run.teacher is not None:
                per_step = run.teacher.examples_per_step
                first = whose.teacher * per_step
                tokens += self._lengths_of(run).total(first, first + per_step)
            return tokens

        return cost

    def _second_cost(self, run: RunConfig, folder: Path) -> Cost:
        """Seconds per step for each combination of signals, without its first, slow step."""
        shutil.rmtree(folder, ignore_errors=True)
        self.say(f"{run.name}: measuring the time of a step")
        train(_pilot(run), folder, self.data_root, say=lambda line: None)
        seconds: dict[str, list[float]] = {}
        for record in read_metrics(folder):
            if "signal" in record:
                seconds.setdefault(record["signal"], []).append(record["seconds"])
        shutil.rmtree(folder, ignore_errors=True)
        means = {name: sum(s[1:] or s) / len(s[1:] or s) for name, s in seconds.items()}
        return lambda whose: means[whose.name]


def _pilot(run: RunConfig) -> RunConfig:
    interaction = run.interaction
    rounds = PILOT_ROUNDS * (interaction.language_steps + interaction.teacher_steps)
    steps = max(PILOT_STEPS, rounds)
    if interaction.kind == "sequential":
        steps = PILOT_STEPS
        interaction = interaction.model_copy(update={"language_steps": steps // 2})
    loop = run.train.model_copy(update={"num_steps": steps, "checkpoint_every": steps})
    update = {"train": loop, "interaction": interaction, "name": "pilot"}
    if run.teacher is not None:
        update["teacher"] = run.teacher.model_copy(update={"validation_rows": 1})
    return run.model_copy(update=update)


def _fill(run: RunConfig, share: float | None, budget: float, cost: Cost) -> RunConfig:
    """The run with as many steps as the budget allows."""
    interaction = run.interaction
    min_steps = 1
    if interaction.kind == "sequential":
        part = DEFAULT_SHARE if share is None else share
        language = steps_for(part * budget, repeat(cost(Turn(0, None))))
        interaction = interaction.model_copy(update={"language_steps": language})
        min_steps = language + 1
    costs = (cost(turn(interaction, step)) for step in count())
    steps = max(min_steps, steps_for(budget, costs))
    loop = run.train.model_copy(update={"num_steps": steps})
    return run.model_copy(update={"interaction": interaction, "train": loop})


def steps_for(budget: float, costs: Iterable[float]) -> int:
    """The number of steps, at least one, whose total cost comes closest to a budget.

    Args:
        budget: What may be spent.
        costs: Cost of each step, without end.
    """
    total, steps = 0.0, 0
    for cost in costs:
        # A step that crosses the budget counts if more than half of it lies within.
        if steps and total + cost / 2 > budget:
            break
        total += cost
        steps += 1
    return steps
