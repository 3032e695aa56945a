"""`freelm bench train`: training steps of both signals, compared with transformers' Trainer.

    freelm           this package's training step: the propositions of a row as one tree, logits of
                     verdicts only
    plain            transformers' Trainer: one padded sequence per proposition, its verdict the
                     next token
    freelm-compiled  as freelm, passes compiled (`train.compile`); only on request
    freelm-int8      as freelm-compiled, products with frozen weights rounded (`model.precision`);
                     only on request

All systems train the same weights (an adapter, or all) on the same examples per step.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer as PlainTrainer
from transformers import TrainerCallback, TrainingArguments

from freelm.bench.machine import clock, matmul_flops, peak_mb
from freelm.bench.runner import measure_in_process, median
from freelm.bench.subjects import USUAL_SHAPE, backbone
from freelm.config import RunConfig, parse_config
from freelm.data.roots import miniworld_root
from freelm.io.memory import keep_freed_memory
from freelm.model.network import FreeLMNetwork
from freelm.train.build import assemble_network, base_dtype
from freelm.train.distributed import ProcessGroup
from freelm.train.signals import build_language_signal, build_teacher_signal, load_battery
from freelm.train.trainer import Trainer

SYSTEMS = ("freelm", "plain", "freelm-compiled", "freelm-int8")
USUAL = SYSTEMS[:2]
SIGNALS = ("teacher", "language")

TASK = "miniworld_topic"
CLAIMS = 3
"""Claims per row: one true and two false."""

IGNORED = -100


@dataclass(frozen=True)
class TrainBench:
    """Settings of the benchmark.

    Attributes:
        systems: Some of `SYSTEMS`.
        precision: Compute type.
        examples: Rows (of a task with three labels) per teacher step.
        tokens: Tokens computed at once; a GPU needs more than a CPU.
        steps: Timed steps, after one to warm up.
        repeats: Processes per measurement; the median counts.
        device: `cpu`, `cuda`, or one of several GPUs.
        shape: Shape of the backbone, one of `subjects.SHAPES`.
        all_weights: Train all weights instead of an adapter.
    """

    systems: Sequence[str] = USUAL
    precision: str = "fp32"
    examples: int = 32
    tokens: int = 2048
    steps: int = 4
    repeats: int = 3
    device: str = "cpu"
    shape: str = USUAL_SHAPE
    all_weights: bool = False


def run_train_bench(bench: TrainBench) -> Iterator[dict[str, Any]]:
    """Measure both signals with all systems.

    Yields:
        Rows with `system, signal, propositions_per_s, tokens_per_s, flops_fraction, peak_mb`.
        `tokens_per_s` excludes padding. `flops_fraction` is the arithmetic of those tokens
        (`flops_per_token`), without the optimizer step, over the speed of matrix products measured
        in the same process. For `peak_mb` see `machine.peak_mb`.
    """
    names = ("precision", "examples", "tokens", "steps", "shape", "all_weights")
    settings = {name: getattr(bench, name) for name in names}
    for signal in SIGNALS:
        taken: dict[str, list[dict[str, Any]]] = {system: [] for system in bench.systems}
        for _ in range(bench.repeats):
            for system in bench.systems:
                spec = {"system": system, "signal": signal, **settings}
                taken[system].append(measure_in_process(__name__, spec, bench.device))
        for system, results in taken.items():
            keys = ("propositions_per_s", "tokens_per_s", "flops_fraction", "peak_mb")
            figures = {key: median(results, key) for key in keys}
            yield {"system": system, "signal": signal, **figures}


@dataclass(frozen=True)
class Step:
    """The content of a step.

    Attributes:
        propositions: Claims judged.
        tokens: Tokens without padding.
    """

    propositions: int
    tokens: int


def run_config(spec: dict[str, Any]) -> RunConfig:
    """The timed run: an adapter as in `configs/freelm-135m.yaml`, or all weights."""
    kind = "language_only" if spec["signal"] == "language" else "teacher_only"
    lora = None if spec["all_weights"] else {"rank": 32}
    precision = "int8" if spec["system"] == "freelm-int8" else spec["precision"]
    return parse_config(
        {
            "name": "bench",
            "model": {"base": "any", "lora": lora, "precision": precision},
            "language": {
                "corpora": {"miniworld": 1.0}, "block_length": 512, "blocks_per_step": 4
            },
            "teacher": {
                "tasks": [TASK],
                "examples_per_step": spec["examples"],
                "max_false_claims": CLAIMS - 1,
            },
            "interaction": {"kind": kind},
            "train": {
                "num_steps": 1000,
                "tokens_per_batch": spec["tokens"],
                "row_length": 256,
                "compile": spec["system"] in ("freelm-compiled", "freelm-int8"),
            },
        },
        "bench",
    )  # fmt: skip


def make_trainer(config: RunConfig, shape: str) -> Trainer:
    """A trainer without a run folder, on the GPU if there is one."""
    network = assemble_network(backbone(base_dtype(config.model), shape), config.model, 0)
    assert config.teacher is not None
    root = miniworld_root()
    language = teacher = None
    if config.interaction.kind == "language_only":
        language = build_language_signal(config, root, network.tokenizer)
    else:
        teacher = build_teacher_signal(config.teacher, load_battery(config.teacher, root), 0)
    return Trainer(config, network, language, teacher, ProcessGroup())


def flops_per_token(network: FreeLMNetwork) -> float:
    """Arithmetic of a training step per token, in matrix products alone.

    Forward pass and gradient of the input take 2 FLOP each per weight of the layers, the gradient
    of a trained weight 2 more. Attention and logits are left out for all systems.
    """
    blocks = (".layers.", ".h.")  # of a Llama and of a GPT-2
    named = network.named_parameters()
    layers = [p for n, p in named if p.dim() == 2 and any(block in n for block in blocks)]
    return float(sum((6 if p.requires_grad else 4) * p.numel() for p in layers))


def time_freelm(trainer: Trainer, spec: dict[str, Any]) -> tuple[list[Step], float, float]:
    """Steps of this package, total seconds, and seconds in the optimizer."""
    spent = _time_optimizer(trainer.optimizer, spec["device"])
    trainer.step(0)
    spent.clear()
    begin = clock(spec["device"])
    records = [trainer.step(number) for number in range(1, spec["steps"] + 1)]
    seconds = clock(spec["device"]) - begin
    steps = []
    for record in records:
        first = record["step"] * spec["examples"]
        drawn = range(first, first + spec["examples"]) if trainer.teacher else ()
        claims = sum(len(trainer.teacher.example(i).claims) for i in drawn if trainer.teacher)
        steps.append(Step(claims, record["tokens"]))
    trainer.close()
    return steps, seconds, sum(spent)


class Sequences(Dataset):
    """Propositions, or blocks of text, as plain sequences, in the order of the steps."""

    def __init__(self, trainer: Trainer, num_steps: int) -> None:
        form = trainer.network.form
        self.items: list[tuple[list[int], list[int]]] = []
        self.per_step: list[Step] = []
        for number in range(num_steps):
            data = trainer.prepare(number)
            before = len(self.items)
            for batch in data.language:
                self.items += [(row.tolist(), row.tolist()) for row in batch.batch.ids]
            for group, _ in data.teacher:
                for example in group:
                    context = form.context(example.context, 256).ids
                    for claim, truth in zip(example.claims, example.truths, strict=True):
                        ids = [*context, *form.claim(claim)]
                        verdict = form.true_id if truth > 0.5 else form.false_id
                        self.items.append(([*ids, verdict], [IGNORED] * len(ids) + [verdict]))
            new = self.items[before:]
            claims = len(new) if data.teacher else 0
            self.per_step.append(Step(claims, sum(len(ids) for ids, _ in new)))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[list[int], list[int]]:
        return self.items[index]


def collate_padded(items: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """Sequences padded to the longest."""
    width = max(len(ids) for ids, _ in items)
    return {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in items]),
        "labels": torch.tensor([t + [IGNORED] * (width - len(t)) for _, t in items]),
        "attention_mask": torch.tensor(
            [[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in items]
        ),
    }


def time_plain(trainer: Trainer, spec: dict[str, Any]) -> tuple[list[Step], float, float]:
    """The same for transformers' Trainer on the same examples."""
    trainer.network.causal.set_attn_implementation("sdpa")  # the default of transformers
    num_steps = spec["steps"] + 1
    data = Sequences(trainer, num_steps)
    per_step = len(data) // num_steps
    # As many sequences at once as fit the token budget of the other system.
    longest = max(len(ids) for ids, _ in data.items)
    most = max(1, spec["tokens"] // longest)
    at_once = max(n for n in range(1, per_step + 1) if per_step % n == 0 and n <= most)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=num_steps,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=per_step // at_once,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=spec["device"] == "cpu",
            bf16=spec["precision"] == "bf16",
            remove_unused_columns=False,
            learning_rate=1e-3,
        )
        spent = _time_optimizer(trainer.optimizer, spec["device"])
        timer = _StepTimer(spent.clear, spec["device"])
        plain = PlainTrainer(
            model=trainer.network.model,
            args=arguments,
            train_dataset=data,
            data_collator=collate_padded,
            callbacks=[timer],
            optimizers=(trainer.optimizer, None),
        )
        plain.train()
    return data.per_step[1:], timer.seconds, sum(spent)


class _StepTimer(TrainerCallback):
    """Seconds of all steps but the first."""

    def __init__(self, after_first: Callable[[], None], device: str) -> None:
        self.after_first = after_first
        self.device = device
        self.begin = self.seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start after the first step, and count up to the latest."""
        if state.global_step == 1:
            self.after_first()
            self.begin = clock(self.device)
        self.seconds = clock(self.device) - self.begin


def _time_optimizer(optimizer: torch.optim.Optimizer, device: str) -> list[float]:
    """A list to which an optimizer will add the seconds of each of its steps."""
    spent: list[float] = []
    own: Callable[..., Any] = optimizer.step

    def step(*args: Any, **kwargs: Any) -> Any:
        begin = clock(device)
        result = own(*args, **kwargs)
        spent.append(clock(device) - begin)
        return result

    optimizer.step = step  # type: ignore[method-assign]
    return spent


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Speed, share of the machine's matrix products, peak memory."""
    keep_freed_memory()
    trainer = make_trainer(run_config(spec), spec["shape"])
    timed = time_plain if spec["system"] == "plain" else time_freelm
    steps, seconds, in_optimizer = timed(trainer, spec)
    peak = peak_mb(spec["device"])
    tokens = sum(step.tokens for step in steps)
    dtype = torch.bfloat16 if spec["precision"] == "bf16" else torch.float32
    achieved = tokens * flops_per_token(trainer.network) / (seconds - in_optimizer)
    return {
        "propositions_per_s": sum(step.propositions for step in steps) / seconds,
        "tokens_per_s": tokens / seconds,
        "flops_fraction": achieved / matmul_flops(dtype, spec["device"]),
        "peak_mb": peak,
    }
