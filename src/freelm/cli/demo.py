"""`freelm demo`: the main job on the embedded default, in minutes on two cores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freelm.cli.options import Json, data_console, say

if TYPE_CHECKING:
    from freelm.demo.arms import DemoRun
    from freelm.judge.answers import Verdict


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo.")] = Path("runs/demo"),
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the run; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train two small models from scratch on the miniworld, then judge, write and measure.

    Example: freelm demo --json
    """
    from freelm.api import FreeLM
    from freelm.demo.arms import as_line, run_demo
    from freelm.demo.page import write_page

    run = run_demo(out, say, override)
    model = FreeLM.from_pretrained(run.model)
    examples = [(text, model.judge(text, claims)) for text, claims in _EXAMPLES]
    writing = _PROMPT + model.generate(_PROMPT, max_new_tokens=24)
    page = out / "demo.html"
    write_page(run, examples, writing, page)
    if as_json:
        for result in run.results:
            print(as_line(result))
    else:
        _print_report(run, examples, writing)
    say(f"page: {page}    model: {run.model}")


_EXAMPLES = [
    ("The park is where Nora is.", ["So: Nora is in the park.", "So: Nora is in the shop."]),
    (
        "Anna thought that the cake was good.",
        ["The opinion of the cake is positive.", "The opinion of the cake is negative."],
    ),
]
_PROMPT = "Nora is in the"


def _print_report(
    run: "DemoRun", examples: "list[tuple[str, list[Verdict]]]", writing: str
) -> None:
    from rich.table import Table

    table = Table(title="FreeLM on the miniworld", title_justify="left")
    table.add_column("arm")
    for column in ("seen tasks", "new phrasing", "family left out", "its majority"):
        table.add_column(column, justify="right")
    for column in ("perplexity", "tokens", "seconds"):
        table.add_column(column, justify="right")
    for r in run.results:
        shares = (
            r.seen_accuracy,
            r.held_out_phrasing_accuracy,
            r.unseen_family_accuracy,
            r.unseen_family_majority,
        )
        table.add_row(
            r.arm,
            *(f"{100 * share:.1f}%" for share in shares),
            f"{r.perplexity:.3f}",
            f"{r.tokens:,}",
            f"{r.seconds:.0f}",
        )
    console = data_console()
    console.print(table)
    for text, verdicts in examples:
        console.print(f"\n{text}", highlight=False)
        for v in verdicts:
            console.print(f"  {v.is_true!s:5}  {v.probability:.3f}  {v.claim}", highlight=False)
    console.print(f"\n{writing}", highlight=False)
