"""A study: arms trained under one budget and measured on the same tasks and text.

Every arm and seed has its own folder with its results, so that the same command resumes a study.
The kind of an arm determines its training data and how it is evaluated.
"""

import gc
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from freelm.api import FreeLM
from freelm.compare.config import Arm, CompareConfig
from freelm.compare.in_context import (
    Demonstrations,
    draw_demonstrations,
    fit,
    longest_question,
    tokenize,
)
from freelm.compare.measure import (
    ITEMS_FOLDER,
    MEASURED_FILE,
    Evaluator,
    SeedResult,
    TaskAnswers,
    TextAnswers,
    load_result,
    save_result,
    test_file,
    unique,
)
from freelm.compare.runs import arm_config, restrict_tasks
from freelm.compare.training import BudgetTrainer, digest
from freelm.config import RunConfig
from freelm.data.label_word_form import label_word_form, plain_form
from freelm.errors import ConfigError
from freelm.eval.exposure import why_seen
from freelm.eval.label_word_judge import LabelWordJudge
from freelm.eval.measure import report_rows
from freelm.io.checksum import file_sha256
from freelm.judge.engine import DEFAULT_MAX_CONTEXT_TOKENS, Judge
from freelm.model.saving import ModelFacts
from freelm.tasks import Task, default_registry
from freelm.train.folder import code_version

MAX_CONTEXT_TOKENS = DEFAULT_MAX_CONTEXT_TOKENS
"""Longer contexts are truncated in the evaluation of all arms. In training, and therefore in
demonstrations, the limit is `teacher.max_context_tokens`."""


@dataclass(frozen=True)
class StudyTasks:
    """The tasks of a study.

    Attributes:
        seen: Measured tasks that are trained on.
        unseen: Measured tasks of families that no arm is trained on.
        names: Task -> how the configurations name it (a user's own task by its file).
    """

    seen: list[Task]
    unseen: list[Task]
    names: dict[str, str]

    @property
    def all(self) -> list[Task]:
        """Both."""
        return [*self.seen, *self.unseen]


@dataclass(frozen=True)
class _Answers:
    """Answers to tasks; `held_out` and `notes` as in `SeedResult`."""

    tasks: list[TaskAnswers]
    held_out: list[TaskAnswers] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Study:
    """Trains and measures arms.

    Args:
        config: The comparison.
        base: The run that its arms are variants of.
        out: Folder of the study.
        data_root: Where the data is.
        say: Receives progress messages.

    Raises:
        FreeLMError: If an arm, a task or a corpus is invalid; checked before anything is trained.
    """

    def __init__(
        self,
        config: CompareConfig,
        base: RunConfig,
        out: Path,
        data_root: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.base, self.out = config, base, out
        self.data_root, self.say = data_root, say
        self.tasks = study_tasks(config, base)
        self.trainer = BudgetTrainer(config.budget, data_root, say)
        self.evaluator = Evaluator(config.evaluate, data_root, say)
        self._check()

    def _check(self) -> None:
        """Raise errors that would otherwise occur after hours of training."""
        if self.base.model.lora is not None and self.base.model.lora.start is not None:
            raise ConfigError(
                "base: arms must start from the same untaught base; drop model.lora.start"
            )
        for arm in self.config.arms:
            if arm.kind == "untrained" and self.base.model.base is None:
                raise ConfigError(f"arm {arm.name!r}: the base run starts from random weights")
            if arm.kind == "in_context":
                self._language_arm(arm)
            elif arm.kind != "untrained":
                arm_config(arm, self.base, self.config.seeds[0])
        for task in self.tasks.all:
            report_rows(task, self.data_root)
        if self.config.evaluate.corpus is not None:
            test_file(self.config.evaluate.corpus, self.data_root)

    def _language_arm(self, arm: Arm) -> Arm | None:
        """The arm whose model an in-context arm uses; None if it uses the base.

        Raises:
            ConfigError: If training starts from random weights and no arm has raw text alone.
        """
        if self.base.model.base is not None:
            return None
        for other in self.config.arms:
            if other.kind == "language_only":
                return other
        raise ConfigError(
            f"arm {arm.name!r}: in_context needs a base, or an arm of kind language_only where "
            "training starts from random weights"
        )

    # -- arms ------------------------------------------------------------------------------------

    def arm_folder(self, arm: Arm, seed: int) -> Path:
        """Where an arm's run and results are."""
        return self.out / "arms" / arm.name / f"seed-{seed}"

    def measure(self, arm: Arm, seed: int) -> SeedResult:
        """The result of an arm with one seed, from the cache if it is there."""
        folder = self.arm_folder(arm, seed)
        facts = [arm.model_dump(mode="json"), seed]
        if arm.kind == "in_context":
            source = self._language_arm(arm)
            facts += [source and source.model_dump(mode="json"), MAX_CONTEXT_TOKENS]

        def compute() -> SeedResult:
            self.say(f"arm {arm.name}, seed {seed}")
            match arm.kind:
                case "untrained":
                    return self._untrained(folder)
                case "in_context":
                    return self._in_context(arm, seed, folder)
                case "per_task":
                    return self._per_task(arm, seed, folder)
            run = arm_config(arm, self.base, seed)
            return self.measure_run(run, arm.language_share, self.tasks.all, folder)

        return self.cached(folder, facts, compute)

    def measure_run(
        self, run: RunConfig, share: float | None, tasks: list[Task], folder: Path
    ) -> SeedResult:
        """Train a run under the budget and measure its model.

        Args:
            run: The run; its number of steps follows from the budget.
            share: Language share, see `Arm`.
            tasks: Tasks to measure it on.
            folder: Folder of the run and the results.
        """
        model = self.trainer.train(run, share, folder)
        return self._result(model, self._answers(run, model, tasks, folder))

    def _answers(self, run: RunConfig, model: FreeLM, tasks: list[Task], folder: Path) -> _Answers:
        """Answers in the format that the model was trained for."""
        if run.teacher is not None and run.teacher.target == "label_words":
            form = label_word_form(model.model.network.form)
            judge = LabelWordJudge(model.model.network, form, MAX_CONTEXT_TOKENS)
            words = self.evaluator.label_words
            return _Answers([words(judge, task, folder, model, {}) for task in tasks])
        if run.interaction.kind == "language_only" and run.model.base is not None:
            return self._prompted(_without_verdicts(model), tasks, folder)
        # From scratch the small vocabulary may lack the words of a prompt's answer.
        untaught = run.interaction.kind == "language_only"
        notes = ["judged by verdicts that it was not trained on"] if untaught else []
        answers, _ = self.evaluator.verdicts(model, tasks, folder)
        held_out: list[TaskAnswers] = []
        if self.config.evaluate.held_out_phrasings:
            held_out, _ = self.evaluator.verdicts(model, self.tasks.seen, folder, held_out=True)
        return _Answers(answers, held_out, notes)

    def _prompted(self, model: FreeLM, tasks: list[Task], folder: Path) -> _Answers:
        answers, prompts = self.evaluator.verdicts(model, tasks, folder)
        listed = ", ".join(f"{task} {prompt}" for task, prompt in prompts.items())
        return _Answers(answers, notes=[f"prompts, chosen on training rows: {listed}"])

    def _per_task(self, arm: Arm, seed: int, folder: Path) -> SeedResult:
        """One model for each measured task of the battery."""
        models, answers, text = [], list[TaskAnswers](), list[TextAnswers]()
        run, parts = arm_config(arm, self.base, seed), len(self.tasks.seen)
        for task in self.tasks.seen:
            own = restrict_tasks(run, f"{arm.name}-{task.name}", [self.tasks.names[task.name]])
            model = self.trainer.train(own, None, folder / task.name, parts)
            answers += self._answers(own, model, [task], folder).tasks
            text += self.evaluator.text(model.model.network)
            models.append(model.facts)
            del model
            gc.collect()
        notes = [f"{parts} models, each with 1/{parts} of the budget"]
        return _seed_result(models, _Answers(answers, notes=notes), text)

    def _untrained(self, folder: Path) -> SeedResult:
        model = FreeLM.from_pretrained(str(self.base.model.base))
        return self._result(model, self._prompted(model, self.tasks.all, folder))

    def _in_context(self, arm: Arm, seed: int, folder: Path) -> SeedResult:
        source = self._language_arm(arm)
        if source is None:
            model = FreeLM.from_pretrained(str(self.base.model.base))
        else:
            run = arm_config(source, self.base, seed)
            model = self.trainer.train(run, None, self.arm_folder(source, seed))
        notes = [] if source is None else [f"uses the model of {source.name}"]
        answers, counts = [], {}
        for task in self.tasks.all:
            judge, shots = self._in_context_judge(arm, seed, task, model)
            settings = {"shots": list(shots.rows), "text_tokens": MAX_CONTEXT_TOKENS}
            answers.append(self.evaluator.label_words(judge, task, folder, model, settings))
            counts[task.name] = len(shots.rows)
        notes += self._shot_notes(arm, counts, model.model.network.max_positions)
        return self._result(model, _Answers(answers, notes=notes))

    def _in_context_judge(
        self, arm: Arm, seed: int, task: Task, model: FreeLM
    ) -> tuple[LabelWordJudge, Demonstrations]:
        """A judge that has read the demonstrations of a task.

        Demonstrations get what the longest question leaves of the model's own window.
        """
        assert arm.shots is not None
        assert self.base.teacher is not None  # checked by `study_tasks`
        network, run = model.model.network, self.base.model_copy(update={"seed": seed})
        form = plain_form(network.form)
        drawn = draw_demonstrations(run, self.tasks.names[task.name], arm.shots, self.data_root)
        _, examples = self.evaluator.label_word_examples(task)
        room = network.max_positions - longest_question(examples, form, MAX_CONTEXT_TOKENS)
        shots = fit(tokenize(drawn, form, self.base.teacher.max_context_tokens), room)
        return LabelWordJudge(network, form, MAX_CONTEXT_TOKENS, shots.ids), shots

    def _shot_notes(self, arm: Arm, counts: dict[str, int], window: int) -> list[str]:
        """How many demonstrations fit into the window."""
        if not arm.shots:
            return []
        mean = sum(counts.values()) / len(counts)
        room = f"the window of {window:,} tokens"
        notes = [f"{mean:.1f} of {arm.shots} demonstrations per task fit {room} (mean)"]
        for task, count in counts.items():
            if count < arm.shots:
                notes.append(f"{task}: {count} of {arm.shots} demonstrations fit {room}")
                self.say(notes[-1])
        return notes

    def _result(self, model: FreeLM, answers: _Answers) -> SeedResult:
        return _seed_result([model.facts], answers, self.evaluator.text(model.model.network))

    # -- cache -----------------------------------------------------------------------------------

    def cached(
        self, folder: Path, facts: list[Any], compute: Callable[[], SeedResult]
    ) -> SeedResult:
        """The result stored in a folder, or else a new one, which is then stored.

        Args:
            folder: Where it is stored.
            facts: What it depends on, in addition to what all results of the study depend on.
            compute: Trains and measures.
        """
        key = self._key(facts)
        result = load_result(folder, key)
        if result is None:
            if (folder / MEASURED_FILE).is_file():  # cached answers may be to other rows
                shutil.rmtree(folder / ITEMS_FOLDER, ignore_errors=True)
            result = compute()
            save_result(result, key, folder)
            gc.collect()
        return result

    def _key(self, facts: list[Any]) -> str:
        config = self.config.model_dump(mode="json", include={"evaluate", "budget"})
        base = self.base.model_dump(mode="json")
        versions = [[task.name, task.version] for task in self.tasks.all]
        return digest([facts, config, base, versions, self._data_state()])

    def _data_state(self) -> str:
        """The checksum of the data root's manifest, or its path if it has none."""
        manifest = self.data_root / "MANIFEST.json" if self.data_root else None
        if manifest is None or not manifest.is_file():
            return str(self.data_root)
        return file_sha256(manifest)


def study_tasks(config: CompareConfig, base: RunConfig) -> StudyTasks:
    """The tasks that a comparison measures.

    Raises:
        TaskError: If one is unknown or listed twice.
        ConfigError: If there is no battery, or a task is neither in it nor of an unseen family.
    """
    if base.teacher is None:
        raise ConfigError(f"base {config.base!r}: a comparison needs a teacher section")
    registry = default_registry()
    listed = config.evaluate.tasks or base.teacher.tasks
    names = dict(zip([task.name for task in registry.get_all(listed)], listed, strict=True))
    trained = registry.get_all(base.teacher.tasks)
    record = {task.name: {"family": task.family} for task in trained}
    seen, unseen = [], []
    for task in registry.get_all(listed):
        if task.name in record:
            seen.append(task)
            continue
        reason = why_seen(task, {"tasks": record}, registry)
        if reason:
            raise ConfigError(
                f"evaluate.tasks: {task.name!r} is not in the battery, and not unseen: {reason}"
            )
        unseen.append(task)
    if not seen:
        raise ConfigError("evaluate.tasks: none of them is in the battery")
    return StudyTasks(seen, unseen, names)


def _without_verdicts(model: FreeLM) -> FreeLM:
    """A model that was taught no verdicts, to be prompted like an untrained base."""
    loaded = replace(model.model, facts=replace(model.facts, markers={}))
    return FreeLM(loaded, Judge(loaded))


def _seed_result(
    models: list[ModelFacts], answers: _Answers, text: list[TextAnswers]
) -> SeedResult:
    """Answers with what the models were trained on, by their own records."""
    records = [facts.record for facts in models]
    trained_by = [record["code"] for record in records if "code" in record]
    return SeedResult(
        answers.tasks,
        text,
        held_out=answers.held_out,
        language_tokens=sum(record.get("language_tokens", 0) for record in records),
        teacher_tokens=sum(record.get("teacher_tokens", 0) for record in records),
        seconds=sum(record.get("seconds", 0.0) for record in records),
        steps=sum(record.get("steps") or 0 for record in records),
        notes=answers.notes,
        code=unique([*trained_by, code_version()]),
    )
