"""A training run from configuration to finished model: resume, train, checkpoint, calibrate."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from freelm.config import RunConfig
from freelm.data.roots import resolve_data_root
from freelm.errors import CheckpointError, ConfigError
from freelm.io.memory import keep_freed_memory, peak_memory_gb
from freelm.model.bases import Base
from freelm.model.calibration import NO_CHANGE
from freelm.model.markers import marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.releases import own_folder
from freelm.model.saving import FACTS_FILE, ModelFacts, read_facts, save_model
from freelm.train.build import build_network
from freelm.train.checkpoint import (
    capture,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    prune_checkpoints,
    restore,
    save_checkpoint,
)
from freelm.train.distributed import ProcessGroup, join_process_group, report_lost_processes
from freelm.train.folder import RunFolder, read_metrics
from freelm.train.progress import ProgressReporter, plot_losses
from freelm.train.signals import (
    Battery,
    build_language_signal,
    build_teacher_signal,
    load_battery,
    signal_files,
    tokenizer_texts,
)
from freelm.train.trainer import Trainer
from freelm.train.validation import Validation, validate

Say = Callable[[str], None]


class Interrupted(KeyboardInterrupt):
    """The run received a stop request and saved its state."""


@dataclass
class RunState:
    """State of a run besides weights and optimizer; stored with every checkpoint.

    Attributes:
        language_tokens: Tokens of the language signal so far.
        teacher_tokens: Tokens of the teacher signal so far.
        seconds: Time spent in steps so far.
        best_score: Best mean validation accuracy so far.
        best_step: Number of steps done when it was reached.
        worse: Evaluations since then.
    """

    language_tokens: int = 0
    teacher_tokens: int = 0
    seconds: float = 0.0
    best_score: float | None = None
    best_step: int | None = None
    worse: int = 0

    def count(self, record: dict[str, Any]) -> None:
        """Add a finished step; a mixed step's tokens outside text blocks count as the teacher's."""
        self.seconds += record["seconds"]
        self.language_tokens += record["language_tokens"]
        self.teacher_tokens += record["tokens"] - record["language_tokens"]

    def note(self, score: float, step: int) -> None:
        """Record the score of an evaluation."""
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_step, self.worse = score, step, 0
        else:
            self.worse += 1


def train(
    config: RunConfig,
    out: Path,
    data_root: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    say: Say | None = None,
) -> Path:
    """Start a run, or resume it.

    Args:
        config: The run's configuration.
        out: The run folder.
        data_root: Data root; None means the configuration's, else `FREELM_DATA`.
        resume: `auto` resumes from the last intact checkpoint; `never` refuses a used folder.
        say: Receives progress lines; None writes them to standard error.

    Returns:
        The folder of the finished model.

    Raises:
        FreeLMError: If configuration, data or run folder are invalid.
        Interrupted: On Ctrl-C or SIGTERM, after the state was saved.
    """
    keep_freed_memory()
    group = join_process_group()
    folder = RunFolder(out)
    if not group.is_main:
        with report_lost_processes(group):
            return _Run(config, folder, data_root, group, say or _nothing).go()
    with folder.lock(), report_lost_processes(group):
        if resume == "never" and folder.is_used():
            raise CheckpointError(f"run folder {out} holds a run; choose another with --out")
        return _Run(config, folder, data_root, group, say).go()


class _Run:
    """A run in progress."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        data_root: Path | None,
        group: ProcessGroup,
        say: Say | None,
    ) -> None:
        self.config, self.folder, self.group, self.say = config, folder, group, say
        self.root = data_root or resolve_data_root(config.data)
        self.progress = RunState()
        self.done = 0

    def go(self) -> Path:
        battery = self._load_battery()
        if self.group.is_main:
            self.folder.begin(self.config, signal_files(self.config, self.root, battery))
        texts = tokenizer_texts(self.config, self.root, battery)
        network, base = build_network(self.config.model, texts, self.config.seed)
        trainer = self._build_trainer(network, battery)
        try:
            with ProgressReporter(self.config.train.num_steps, 0, self.say) as reporter:
                self._resume(trainer, reporter)
                reporter.start = self.done
                with stop_requests() as stop:
                    self._loop(trainer, battery, reporter, stop)
                return self._finish(trainer, base, battery, reporter)
        finally:
            trainer.close()

    def _load_battery(self) -> Battery | None:
        if self.config.teacher is None:
            return None
        return load_battery(self.config.teacher, self.root)

    def _build_trainer(self, network: FreeLMNetwork, battery: Battery | None) -> Trainer:
        config = self.config
        if config.language and config.language.block_length > network.max_positions:
            raise ConfigError(
                f"language.block_length {config.language.block_length} is more than the base takes "
                f"({network.max_positions} positions)"
            )
        language = teacher = None
        if config.interaction.kind != "teacher_only":
            language = build_language_signal(config, self.root, network.tokenizer)
        if config.interaction.kind != "language_only" and battery and config.teacher:
            teacher = build_teacher_signal(config.teacher, battery, config.seed)
        return Trainer(config, network, language, teacher, self.group)

    def _resume(self, trainer: Trainer, reporter: ProgressReporter) -> None:
        checkpoint = load_latest(self.folder.checkpoints, reporter.say)
        if checkpoint is None:
            if list_checkpoints(self.folder.checkpoints):
                reporter.say("no checkpoint is intact; starting from the beginning")
            if self.group.is_main:
                self.folder.rewind_metrics(0)
            return
        restore(checkpoint, trainer.network, trainer.optimizer)
        self.done = checkpoint.step
        self.progress = RunState(**checkpoint.state)
        if self.group.is_main:
            self.folder.rewind_metrics(self.done)
        reporter.say(f"resumed after step {self.done}")

    def _loop(
        self,
        trainer: Trainer,
        battery: Battery | None,
        reporter: ProgressReporter,
        stop: threading.Event,
    ) -> None:
        loop = self.config.train
        while self.done < loop.num_steps and not self._patience_is_over():
            record = trainer.step(self.done)
            self.done += 1
            self.progress.count(record)
            if self.group.is_main:
                self.folder.append_metrics(record)
                reporter.update(record)
            last = self.done == loop.num_steps
            asked = self.group.sum(stop.is_set()) > 0  # all ranks must agree, or the rest hang
            best = False
            if loop.evaluate_every and (self.done % loop.evaluate_every == 0 or last):
                best = self._evaluate(trainer, battery, reporter)
            if self.done % loop.checkpoint_every == 0 or best or last or asked:
                self._save(trainer)
            if asked and not last:
                raise Interrupted(f"stopped after step {self.done}; run the same command to resume")

    def _patience_is_over(self) -> bool:
        patience = self.config.train.patience
        return patience is not None and self.progress.worse >= patience

    def _evaluate(
        self, trainer: Trainer, battery: Battery | None, reporter: ProgressReporter
    ) -> bool:
        """Evaluate; return whether this is the best state so far and has to be saved."""
        validation = self._validate(trainer, battery)
        if validation is None:
            return False
        score = self.group.from_main(validation.mean_accuracy)
        self.progress.note(score, self.done)
        if self.group.is_main:
            scores = {name: round(value, 4) for name, value in validation.accuracy.items()}
            self.folder.append_metrics({"step": self.done - 1, "validation": scores})
            reporter.say(f"step {self.done}: validation accuracy {score:.3f}")
        return self.config.train.keep_best and self.progress.best_step == self.done

    def _validate(self, trainer: Trainer, battery: Battery | None) -> Validation | None:
        if battery is None or self.config.teacher is None or trainer.teacher is None:
            return None
        if self.config.teacher.target == "label_words":  # its verdicts are not trained
            return None
        if not any(battery.validation.values()):
            return None
        trainer.settle()
        return validate(
            trainer.network,
            battery.validation,
            [rows.task.name for rows in battery.train if rows.task.question != "predicate"],
            self.config.teacher.max_context_tokens,
            self.config.train.tokens_per_batch,
            self.config.model.precision,
        )

    def _save(self, trainer: Trainer) -> None:
        if self.group.is_main:
            state = asdict(self.progress)
            save_checkpoint(
                self.folder.checkpoints,
                capture(trainer.network, trainer.optimizer, self.done, state),
            )
            best = self.progress.best_step if self.config.train.keep_best else None
            prune_checkpoints(self.folder.checkpoints, self.done, self.config.train.keep_last, best)
        self.group.wait()

    def _finish(
        self, trainer: Trainer, base: Base, battery: Battery | None, reporter: ProgressReporter
    ) -> Path:
        best = self.progress.best_step
        if self.config.train.keep_best and best is not None and best != self.done:
            checkpoint = load_checkpoint(checkpoint_path(self.folder.checkpoints, best))
            restore(checkpoint, trainer.network, trainer.optimizer)
            self.done, self.progress = checkpoint.step, RunState(**checkpoint.state)
            reporter.say(f"keeping the best checkpoint, of step {best}")
        validation = self._validate(trainer, battery)
        if self.group.is_main:
            facts = self._facts(trainer, base, battery, validation)
            save_model(trainer.network.eval(), self.folder.model, facts)
            plot_losses(read_metrics(self.folder.path), self.folder.path / "losses.png")
            for reason in sorted(trainer.teacher.unusable.values()) if trainer.teacher else ():
                reporter.say(f"skipped: {reason}")
            reporter.say(
                f"temperature {facts.temperature:.3f}, of two options "
                f"{facts.choice_temperature.two:.3f}, of many {facts.choice_temperature.many:.3f}; "
                f"peak memory {peak_memory_gb():.2f} GB"
            )
            reporter.say(f"model: {self.folder.model}")
        self.group.wait()
        return self.folder.model

    def _facts(
        self, trainer: Trainer, base: Base, battery: Battery | None, validation: Validation | None
    ) -> ModelFacts:
        config = self.config
        trained_on: dict[str, dict[str, Any]] = {}
        if trainer.teacher is not None and battery is not None:
            families = {rows.task.name: rows.task.family for rows in battery.train}
            versions = {rows.task.name: rows.task.version for rows in battery.train}
            trained_on = {
                name: {"family": families[name], "version": versions[name], "rows": size}
                for name, size in trainer.teacher.sizes.items()
            }
        earlier = _earlier_record(config)
        if earlier:
            trained_on = {**earlier.get("tasks", {}), **trained_on}
        record = {
            "name": config.name,
            "seed": config.seed,
            "interaction": config.interaction.kind,
            "steps": self.done,
            "tasks": trained_on,
            "target": config.teacher.target if config.teacher and trained_on else None,
            "families": sorted({facts["family"] for facts in trained_on.values()}),
            "corpora": list(trainer.language.streams) if trainer.language else [],
            "overlaps_dropped": battery.overlaps if battery and trained_on else {},
            "validation_rows": config.teacher.validation_rows if config.teacher else 0,
            **{k: v for k, v in asdict(self.progress).items() if k.endswith(("tokens", "seconds"))},
            "code": self.folder.manifest()["code"],
            **({"went_on_from": earlier} if earlier else {}),
        }
        return ModelFacts(
            kind="adapter" if config.model.lora else "full",
            base=config.model.base,
            base_checksum=base.checksum,
            markers=marker_ids(trainer.network.tokenizer),
            temperature=validation.temperature() if validation else 1.0,
            choice_temperature=validation.choice_temperature() if validation else NO_CHANGE,
            max_context_tokens=config.teacher.max_context_tokens if config.teacher else 256,
            record=record,
        )


def _earlier_record(config: RunConfig) -> dict[str, Any] | None:
    """Training record of the model that a run starts from; None if that is not a FreeLM model."""
    model = config.model
    start = (model.lora and model.lora.start) or model.base
    if start is None or not (own_folder(start) / FACTS_FILE).is_file():
        return None
    return read_facts(own_folder(start)).record


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second signal ends the process at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(line: str) -> None:
    """Discard a line."""
