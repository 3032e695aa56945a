"""A study: models trained under one budget and measured on the same tasks and text.

Every arm and seed has its own folder and keeps what it came to, so that the same study goes on
where it was stopped. What an arm is trained and asked with follows from its kind.
"""

import gc
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from freelm.api import FreeLM
from freelm.compare.budget import Planner
from freelm.compare.config import Arm, CompareConfig
from freelm.compare.in_context import Shots, demonstrations, fitting, longest, written
from freelm.compare.measure import (
    ITEMS_FOLDER,
    MEASURED_FILE,
    Measured,
    Measurer,
    TaskAnswers,
    TextAnswers,
    distinct,
    read_measured,
    write_measured,
)
from freelm.compare.runs import arm_run, with_tasks
from freelm.config import RunConfig, parse_config
from freelm.data.label_words import label_word_form, plain_form
from freelm.data.text import corpus_file
from freelm.errors import ConfigError, DataError
from freelm.eval.exposure import why_seen
from freelm.eval.label_words import LabelWordJudge
from freelm.eval.measure import report_rows
from freelm.io.atomic import atomic_write
from freelm.io.checksum import file_sha256
from freelm.io.strict_yaml import read_yaml
from freelm.judge.engine import DEFAULT_MAX_CONTEXT_TOKENS, Judge
from freelm.model.saving import FACTS_FILE, ModelFacts
from freelm.tasks import Task, default_registry
from freelm.train.folder import RunFolder, build_manifest, code_version
from freelm.train.run import train

PLAN_FILE = "plan.yaml"

TEXT_TOKENS = DEFAULT_MAX_CONTEXT_TOKENS
"""Longer texts are cut when they are asked about, the same in all arms. In training, and hence in
demonstrations, they are cut at `teacher.max_context_tokens`."""


@dataclass(frozen=True)
class MeasuredTasks:
    """The tasks of a study.

    Attributes:
        seen: Measured tasks that are trained on.
        unseen: Measured tasks of families that are not.
        names: Task -> how the configurations name it (a task of one's own is named by its file).
    """

    seen: list[Task]
    unseen: list[Task]
    names: dict[str, str]

    @property
    def all(self) -> list[Task]:
        """Both."""
        return [*self.seen, *self.unseen]


class Study:
    """Trains and measures arms.

    Args:
        config: The comparison.
        base: The run that its arms are variants of.
        out: Folder of the study.
        data_root: Where the data is.
        say: Told what is going on.

    Raises:
        FreeLMError: If an arm, a task or a corpus cannot be; found before anything is trained.
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
        self.tasks = measured_tasks(config, base)
        self.planner = Planner(config.budget, data_root, say)
        self.measurer = Measurer(config.evaluate, data_root, say)
        self._check()

    def _check(self) -> None:
        """What would fail later, found now."""
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
                arm_run(arm, self.base, self.config.seeds[0])
        for task in self.tasks.all:
            report_rows(task, self.data_root)
        if self.config.evaluate.corpus is not None:
            if self.data_root is None:
                raise DataError("perplexity needs a data root: --data DIR or FREELM_DATA")
            corpus_file(self.data_root, self.config.evaluate.corpus, "test")

    def _language_arm(self, arm: Arm) -> Arm | None:
        """The arm whose model learns in context: None for a base that is not from scratch.

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

    def measure(self, arm: Arm, seed: int) -> Measured:
        """What an arm comes to with one seed, kept from before or found now."""
        folder = self.out / "arms" / arm.name / f"seed-{seed}"
        facts = [arm.model_dump(mode="json"), seed]
        if arm.kind == "in_context":
            source = self._language_arm(arm)
            facts += [source and source.model_dump(mode="json"), TEXT_TOKENS]

        def find() -> Measured:
            self.say(f"arm {arm.name}, seed {seed}")
            return self._measure(arm, seed, folder)

        return self.kept(folder, facts, find)

    def _measure(self, arm: Arm, seed: int, folder: Path) -> Measured:
        match arm.kind:
            case "untrained":
                return self._untrained(folder)
            case "in_context":
                return self._in_context(arm, seed, folder)
            case "per_task":
                return self._per_task(arm, seed, folder)
        run = arm_run(arm, self.base, seed)
        return self.measure_run(run, arm.language_share, self.tasks.all, folder)

    def measure_run(
        self, run: RunConfig, share: float | None, tasks: list[Task], folder: Path
    ) -> Measured:
        """Train a run under the budget and measure its model.

        Args:
            run: The run; its number of steps follows from the budget.
            share: Language share, see `Arm`.
            tasks: What it is measured on.
            folder: Where to.
        """
        model = self._train(run, share, folder)
        answers, notes = self._answers(run, model, tasks, folder)
        return _measured([model], answers, self.measurer.text(model.model.network), notes)

    def _answers(
        self, run: RunConfig, model: FreeLM, tasks: list[Task], folder: Path
    ) -> tuple[list[TaskAnswers], list[str]]:
        """Answers in the way that the model was trained for, and what must be told of that way."""
        if run.teacher is not None and run.teacher.target == "label_words":
            form = label_word_form(model.model.network.form)
            judge = LabelWordJudge(model.model.network, form, TEXT_TOKENS)
            found = [self.measurer.label_words(judge, task, folder, model, {}) for task in tasks]
            return found, []
        if run.interaction.kind != "language_only":
            return self.measurer.verdicts(model, tasks, folder)[0], []
        if run.model.base is None:  # its small vocabulary may lack the words of an answer
            answers, _ = self.measurer.verdicts(model, tasks, folder)
            return answers, ["judged by verdicts that it was never taught"]
        return self._asked_in_words(_without_verdicts(model), tasks, folder)

    def _asked_in_words(
        self, model: FreeLM, tasks: list[Task], folder: Path
    ) -> tuple[list[TaskAnswers], list[str]]:
        answers, prompts = self.measurer.verdicts(model, tasks, folder)
        listed = ", ".join(f"{task} {prompt}" for task, prompt in prompts.items())
        return answers, [f"prompts, chosen on training rows: {listed}"]

    def _per_task(self, arm: Arm, seed: int, folder: Path) -> Measured:
        """One model for each measured task of the battery."""
        models, answers, text = [], list[TaskAnswers](), list[TextAnswers]()
        run, part = arm_run(arm, self.base, seed), len(self.tasks.seen)
        for task in self.tasks.seen:
            own = with_tasks(run, f"{arm.name}-{task.name}", [self.tasks.names[task.name]])
            model = self._train(own, None, folder / task.name, part)
            answers += self._answers(own, model, [task], folder)[0]
            text += self.measurer.text(model.model.network)
            models.append(model.facts)
            del model
            gc.collect()
        notes = [f"{part} models, each with 1/{part} of the budget"]
        return _measured_of(models, answers, text, notes)

    def _untrained(self, folder: Path) -> Measured:
        model = FreeLM.from_pretrained(str(self.base.model.base))
        answers, notes = self._asked_in_words(model, self.tasks.all, folder)
        return _measured([model], answers, self.measurer.text(model.model.network), notes)

    def _in_context(self, arm: Arm, seed: int, folder: Path) -> Measured:
        source = self._language_arm(arm)
        if source is None:
            model = FreeLM.from_pretrained(str(self.base.model.base))
        else:
            own = self.out / "arms" / source.name / f"seed-{seed}"
            model = self._train(arm_run(source, self.base, seed), None, own)
        answers, notes, fitted = [], [], []
        if source is not None:
            notes.append(f"asks the model of {source.name}")
        for task in self.tasks.all:
            judge, shots = self._shown(arm, seed, task, model)
            way = {"shots": list(shots.rows), "text_tokens": TEXT_TOKENS}
            answers.append(self.measurer.label_words(judge, task, folder, model, way))
            fitted.append((task.name, len(shots.rows)))
        notes += self._fitted(arm, fitted, model.model.network.max_positions)
        return _measured([model], answers, self.measurer.text(model.model.network), notes)

    def _shown(
        self, arm: Arm, seed: int, task: Task, model: FreeLM
    ) -> tuple[LabelWordJudge, Shots]:
        """A judge that has read the demonstrations of a task, and these.

        Demonstrations get what the longest question leaves of the model's own window.
        """
        assert arm.shots is not None
        assert self.base.teacher is not None  # or `measured_tasks` would have refused
        network, run = model.model.network, self.base.model_copy(update={"seed": seed})
        form = plain_form(network.form)
        drawn = demonstrations(run, self.tasks.names[task.name], arm.shots, self.data_root)
        examples = self.measurer.label_word_examples(task)[1]
        room = network.max_positions - longest(examples, form, TEXT_TOKENS)
        shots = fitting(written(drawn, form, self.base.teacher.max_context_tokens), room)
        return LabelWordJudge(network, form, TEXT_TOKENS, shots.ids), shots

    def _fitted(self, arm: Arm, fitted: list[tuple[str, int]], window: int) -> list[str]:
        """What must be told of demonstrations: how many there really were."""
        if not arm.shots:
            return []
        mean = sum(count for _, count in fitted) / len(fitted)
        room = f"the window of {window:,} tokens"
        notes = [f"{mean:.1f} of {arm.shots} demonstrations a task fit {room} (mean)"]
        for task, count in fitted:
            if count < arm.shots:
                notes.append(f"{task}: {count} of {arm.shots} demonstrations fit {room}")
                self.say(notes[-1])
        return notes

    # -- training --------------------------------------------------------------------------------

    def _train(self, run: RunConfig, share: float | None, folder: Path, part: int = 1) -> FreeLM:
        """The model of a run, trained under the budget, or the rest of it, unless it is there."""
        planned = self._planned(run, share, folder, part)
        model = folder / "run" / "model"
        if (model / FACTS_FILE).is_file():
            _refuse_changed_data(folder / "run")
        else:
            self.say(f"{run.name}: {planned.train.num_steps} steps in {folder / 'run'}")
            train(planned, folder / "run", self.data_root, say=self.say)
        gc.collect()
        return FreeLM.from_pretrained(model)

    def _planned(self, run: RunConfig, share: float | None, folder: Path, part: int) -> RunConfig:
        """The run with its number of steps, which is kept: a time measured again would differ.

        Raises:
            ConfigError: If the folder holds a run that was planned from other settings.
        """
        path = folder / PLAN_FILE
        budget = self.config.budget.model_dump(mode="json")
        key = digest([run.model_dump(mode="json"), share, part, budget])
        if path.is_file():
            kept = read_yaml(path, ConfigError)
            if kept["key"] == key:
                return parse_config(kept["run"], str(path))
            if (folder / "run").is_dir():
                raise ConfigError(
                    f"{folder / 'run'}: holds a run of another configuration or budget; use --out "
                    "for a new folder or restore the values"
                )
        planned = self.planner.plan(run, share, folder, part)
        facts = {"key": key, "run": planned.model_dump(mode="json")}
        atomic_write(path, yaml.safe_dump(facts, sort_keys=False))
        return planned

    # -- what was done before --------------------------------------------------------------------

    def kept(self, folder: Path, facts: list[Any], find: Callable[[], Measured]) -> Measured:
        """What a folder keeps, or what is found now and then kept.

        Args:
            folder: Where it is kept.
            facts: What it depends on, beside what all figures of the study depend on.
            find: Finds it.
        """
        key = self._key(facts)
        measured = read_measured(folder, key)
        if measured is None:
            if (folder / MEASURED_FILE).is_file():  # its answers may be to other rows
                shutil.rmtree(folder / ITEMS_FOLDER, ignore_errors=True)
            measured = find()
            write_measured(measured, key, folder)
            gc.collect()
        return measured

    def _key(self, facts: list[Any]) -> str:
        evaluate = self.config.evaluate.model_dump(mode="json")
        budget = self.config.budget.model_dump(mode="json")
        base = self.base.model_dump(mode="json")
        versions = [[task.name, task.version] for task in self.tasks.all]
        return digest([facts, evaluate, budget, base, versions, self._data()])

    def _data(self) -> str:
        """The state of the data: the checksum of its manifest, where it has one, else its place."""
        manifest = self.data_root / "MANIFEST.json" if self.data_root else None
        if manifest is None or not manifest.is_file():
            return str(self.data_root)
        return file_sha256(manifest)


def measured_tasks(config: CompareConfig, base: RunConfig) -> MeasuredTasks:
    """The tasks that a comparison measures.

    Raises:
        TaskError: If one is unknown or stands twice.
        ConfigError: If there is no battery, or a task is neither of it nor of an unseen family.
    """
    if base.teacher is None:
        raise ConfigError(f"base {config.base!r}: a comparison needs a teacher section")
    registry = default_registry()
    trained = registry.get_all(base.teacher.tasks)
    asked = config.evaluate.tasks or base.teacher.tasks
    names = dict(zip([task.name for task in registry.get_all(asked)], asked, strict=True))
    record = {task.name: {"family": task.family} for task in trained}
    seen, unseen = [], []
    for task in registry.get_all(asked):
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
    return MeasuredTasks(seen, unseen, names)


def digest(facts: Any) -> str:
    """A short name of facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_changed_data(run: Path) -> None:
    """Refuse a finished run whose files have changed since: other arms would learn from others.

    Raises:
        DataError: If one has (it is named). Files that are no longer there are passed over.
    """
    learned = RunFolder(run).manifest()["files"]
    there = [name for name in learned if Path(name).is_file()]
    for name, facts in build_manifest(there)["files"].items():
        if facts != learned[name]:
            raise DataError(
                f"{name}: has changed since the run in {run} learned from it; restore it or use "
                "--out for a new folder"
            )


def _without_verdicts(model: FreeLM) -> FreeLM:
    """A model that was taught no verdict, to be asked in words as an untrained base is."""
    loaded = replace(model.model, facts=replace(model.facts, markers={}))
    return FreeLM(loaded, Judge(loaded))


def _measured(
    models: list[FreeLM],
    answers: list[TaskAnswers],
    text: list[TextAnswers],
    notes: list[str] | None = None,
) -> Measured:
    return _measured_of([model.facts for model in models], answers, text, notes)


def _measured_of(
    facts: list[ModelFacts],
    answers: list[TaskAnswers],
    text: list[TextAnswers],
    notes: list[str] | None = None,
) -> Measured:
    """Answers with what the models were trained on, by their own records."""
    records = [one.record for one in facts]
    trained_by = [record["code"] for record in records if "code" in record]
    return Measured(
        answers,
        text,
        language_tokens=sum(record.get("language_tokens", 0) for record in records),
        teacher_tokens=sum(record.get("teacher_tokens", 0) for record in records),
        seconds=sum(record.get("seconds", 0.0) for record in records),
        steps=sum(record.get("steps") or 0 for record in records),
        notes=notes or [],
        code=distinct([*trained_by, code_version()]),
    )
