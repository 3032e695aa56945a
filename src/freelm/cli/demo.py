"""`freelm demo`: train two small models on the miniworld and compare them, in a few minutes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.compare import Overrides, command_line, exit_if_failed, open_study, print_table
from freelm.cli.options import Json, print_json, say

if TYPE_CHECKING:
    from freelm.compare.outcomes import ArmResult
    from freelm.compare.study import Study
    from freelm.judge.answers import Verdict

EXAMPLES = {
    "The park is where Nora is.": ["So: Nora is in the park.", "So: Nora is in the shop."],
    "Anna thought that the cake was good.": [
        "The opinion of the cake is positive.",
        "The opinion of the cake is negative.",
    ],
}
PROMPT = "Nora is in the"

TITLE = "FreeLM on the miniworld"
INTRO = (
    "Two small language models with the same initial weights and the same number of tokens: one "
    "was trained on raw text alone, the other alternated between raw text and propositions that "
    "are true or false. Neither was fine-tuned for any task."
)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo.")] = Path("runs/demo"),
    override: Overrides = None,
    as_json: Json = False,
) -> None:
    """Train two small models from scratch on the miniworld and compare them.

    This runs the comparison configs/compare/demo.yaml (--set changes its values); then the model
    that learned from both signals judges and writes. Its folder is OUT/alternate/model.

    Example: freelm demo --json
    """
    from freelm.compare.outcomes import compare_arms
    from freelm.compare.page import Section, arms_page, arms_table
    from freelm.config import shipped_config
    from freelm.eval.sections import Table, Verbatim
    from freelm.report.page import write_page

    study = open_study(shipped_config("compare/demo"), override, out, None)
    results = compare_arms(study)
    exit_if_failed([result.arm.name for result in results if result.failures])
    model = _copy_run(study)
    verdicts, writing = _judge_and_write(model)
    rows = [(text, v.claim, str(v.is_true), f"{v.probability:.3f}") for text, v in verdicts]
    table = Table(("text", "claim", "verdict", "P(true)"), rows)
    examples: list[Section] = [("Judging", [table]), ("Writing", [Verbatim(writing)])]
    page = arms_page(study, results, command_line(), TITLE, INTRO, examples)
    write_page(page, out, "demo")
    if as_json:
        print_json(map(_line, results))
    else:
        print_table(arms_table(results), TITLE)
        for text, claim, verdict, probability in rows:
            print(f"{verdict:5}  {probability}  {text} {claim}")
        print(f"\n{writing}")
    say(f"page: {out / 'demo.html'}    model: {model}")


def _copy_run(study: "Study") -> Path:
    """Copy the run of the second arm, without checkpoints, to OUT/ARM; returns its model folder."""
    arm = study.config.arms[-1]
    folder = study.out / arm.name
    run = study.arm_folder(arm, study.config.seeds[0]) / "run"
    ignored = shutil.ignore_patterns("checkpoints", ".lock")
    shutil.copytree(run, folder, dirs_exist_ok=True, ignore=ignored)
    return folder / "model"


def _judge_and_write(folder: Path) -> "tuple[list[tuple[str, Verdict]], str]":
    from freelm.api import FreeLM

    model = FreeLM.from_pretrained(folder)
    verdicts = [(text, v) for text, claims in EXAMPLES.items() for v in model.judge(text, claims)]
    return verdicts, PROMPT + model.generate(PROMPT, max_new_tokens=24)


def _line(result: "ArmResult") -> dict[str, Any]:
    """An arm as one JSON object."""
    scores = {
        "seen_accuracy": result.seen,
        "held_out_phrasing_accuracy": result.held_out,
        "unseen_family_accuracy": result.unseen,
    }
    return {
        "arm": result.arm.name,
        **{name: score and score.value for name, score in scores.items()},
        "unseen_family_majority": next(t.majority for t in result.tasks if not t.is_seen),
        "perplexity": result.perplexity and result.perplexity.value,
        "tokens": int(result.tokens),
        "seconds": result.seconds,
    }
