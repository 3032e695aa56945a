"""FreeLM as a registered model of lm-evaluation-harness 0.4.13 (model name `freelm`)."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.tasks import TaskManager

from freelm.api import FreeLM
from freelm.errors import DataError, FreeLMError
from freelm.eval.harness.tasks import PREFIX, answer_pairs, export_task
from freelm.eval.likelihood import text_likelihood
from freelm.eval.measure import Setting
from freelm.eval.references import Z
from freelm.eval.results import Result
from freelm.tasks import default_registry

SUITE = "lm-eval"
CHUNK = 128
"""Requests per call of the model."""


@register_model("freelm")
class HarnessModel(LM):
    """A FreeLM that answers the harness's requests.

    Args:
        pretrained: Model folder or base, or a loaded model.
        ignored: What the harness passes to every model (batch size, device); not needed here.
    """

    def __init__(self, pretrained: str | FreeLM, **ignored: Any) -> None:
        super().__init__()
        self.model = (
            pretrained if isinstance(pretrained, FreeLM) else FreeLM.from_pretrained(pretrained)
        )
        self._device = self.model.model.network.device

    @property
    def tokenizer_name(self) -> str:
        """Name under which the harness caches requests."""
        return str(self.model.model.name).replace("/", "__")

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy decoding writes it) of each (context, continuation)."""
        answers: list[tuple[float, bool]] = []
        for start in range(0, len(requests), CHUNK):
            chunk = requests[start : start + CHUNK]
            for request, found in zip(
                chunk, answer_pairs(self.model, [request.args for request in chunk]), strict=True
            ):
                answers.append((found.log, found.is_greedy))
                self.cache_hook.add_partial("loglikelihood", request.args, answers[-1])
        return answers

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of each text."""
        network = self.model.model.network
        return [text_likelihood(network, request.args[0]) for request in requests]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to the first stop string."""
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        temperature = options.get("temperature", 0.0) if options.get("do_sample") else 0.0
        text = self.model.generate(context, int(options.get("max_gen_toks", 256)), temperature)
        stops = options.get("until") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.split(stop)[0] if stop else text
        return text


def evaluate_with_harness(model: FreeLM, names: Sequence[str], setting: Setting) -> list[Result]:
    """Run tasks of the harness, or ours in its form.

    A task that fails is reported and skipped.

    Args:
        model: The model.
        names: The harness's task names and YAML files; `freelm_<task>` is a task of ours.
        setting: Data root of our tasks, limit, messages.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="freelm-harness-") as scratch:
        for name in names:
            try:
                results += _evaluate(model, name, Path(scratch), setting)
            except FreeLMError as error:
                setting.skip(f"{name}: skipped: {error}")
    return results


def _evaluate(model: FreeLM, name: str, scratch: Path, setting: Setting) -> list[Result]:
    asked = name
    if name.startswith(PREFIX):
        task = default_registry().get(name.removeprefix(PREFIX))
        asked = str(export_task(task, scratch, setting.data_root, setting.limit))
    try:
        found = simple_evaluate(
            model=HarnessModel(model),
            tasks=[asked],
            limit=setting.limit,
            task_manager=TaskManager(include_defaults=asked == name),
            bootstrap_iters=1000,
            log_samples=False,
        )
    except FreeLMError:
        raise
    except Exception as error:  # the harness and its data sets raise many kinds of error
        line = " ".join(str(error).split())[:200]
        raise DataError(f"the harness cannot run it ({type(error).__name__}: {line})") from None
    return [
        result
        for task_name, figures in found["results"].items()
        for result in _results(task_name, figures, found["n-samples"].get(task_name, {}))
    ]


def _results(task: str, figures: dict[str, Any], counts: dict[str, int]) -> list[Result]:
    """The harness's figures (`acc,none`, `acc_stderr,none`) as ours."""
    results = []
    for key, value in figures.items():
        metric, _, kind = key.partition(",")
        if not isinstance(value, int | float) or not kind or metric.endswith("_stderr"):
            continue
        error = figures.get(f"{metric}_stderr,{kind}")
        reach = Z * error if isinstance(error, int | float) else None
        results.append(
            Result(
                task, "lm-eval", "harness", metric, float(value), counts.get("effective", 0),
                None if reach is None else value - reach,
                None if reach is None else value + reach,
                None, SUITE, None if kind == "none" else kind,
            )
        )  # fmt: skip
    return results
