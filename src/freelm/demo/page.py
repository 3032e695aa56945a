"""The demo's page: one HTML file with its plots inside, which opens from disk."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from freelm.demo.arms import ARMS, DemoRun
from freelm.judge.answers import Verdict
from freelm.train.tracker import smoothed

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; background: white; border-radius: .5rem; }
code { background: #8882; padding: .1rem .3rem; border-radius: .2rem; }
"""

_COLOURS = {"language_only": "tab:blue", "alternate": "tab:orange"}


def write_page(
    run: DemoRun, examples: Sequence[tuple[str, Sequence[Verdict]]], writing: str, path: Path
) -> None:
    """Write the page.

    Args:
        run: The finished demo.
        examples: Texts with verdicts of the trained model.
        writing: A text that the model continued.
        path: The HTML file.
    """
    body = [
        "<h1>FreeLM on the miniworld</h1>",
        "<p>Two small language models with the same start and the same number of tokens: one saw "
        "raw text only, the other took turns between raw text and propositions that are true or "
        "false. Neither was fine-tuned for any task.</p>",
        _table(run),
        "<h2>Accuracy by task</h2>",
        _svg(_task_plot(run)),
        "<h2>Learning</h2>",
        _svg(_loss_plot(run)),
        "<h2>Judging</h2>",
        *(_judged(text, verdicts) for text, verdicts in examples),
        f"<h2>Writing</h2><p><code>{html.escape(writing)}</code></p>",
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>FreeLM demo</title><style>{_STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _table(run: DemoRun) -> str:
    head = (
        "arm", "seen tasks", "phrasing never trained", "family left out", "(its majority)",
        "perplexity", "tokens", "seconds",
    )  # fmt: skip
    rows = [
        (
            r.arm,
            f"{100 * r.seen_accuracy:.1f}",
            f"{100 * r.held_out_phrasing_accuracy:.1f}",
            f"{100 * r.unseen_family_accuracy:.1f}",
            f"{100 * r.unseen_family_majority:.1f}",
            f"{r.perplexity:.3f}",
            f"{r.tokens:,}",
            f"{r.seconds:.0f}",
        )
        for r in run.results
    ]
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def _task_plot(run: DemoRun) -> Figure:
    figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
    tasks = list(run.by_task[ARMS[0]])
    for shift, arm in ((-0.2, ARMS[0]), (0.2, ARMS[1])):
        places = [i + shift for i in range(len(tasks))]
        values = [100 * run.by_task[arm][task] for task in tasks]
        bars = axis.bar(places, values, width=0.38, label=arm, color=_COLOURS[arm])
        axis.bar_label(bars, fmt="%.0f", fontsize=8)
    axis.set_xticks(range(len(tasks)), [t.removeprefix("miniworld_") for t in tasks])
    axis.set_ylabel("test accuracy (%)")
    axis.set_ylim(0, 125)
    axis.legend(ncols=2)
    return figure


def _loss_plot(run: DemoRun) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, signal in zip(axes, ("language", "teacher"), strict=True):
        for arm in ARMS:
            tokens, losses, seen = [], [], 0.0
            for record in run.metrics[arm]:
                seen += record.get("tokens", 0)
                if f"{signal}_loss" in record:
                    tokens.append(seen / 1e6)
                    losses.append(record[f"{signal}_loss"])
            if losses:
                axis.plot(tokens, smoothed(losses), label=arm, color=_COLOURS[arm])
        axis.set_title(f"{signal} signal")
        axis.set_xlabel("million tokens")
        axis.set_ylabel("loss (nats)")
        axis.legend()
    return figure


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg")
    plt.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _judged(text: str, verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(v.claim)}</td><td>{v.is_true}</td><td>{v.probability:.3f}</td></tr>"
        for v in verdicts
    )
    head = "<tr><th>claim</th><th>verdict</th><th>P(true)</th></tr>"
    return f"<p><code>{html.escape(text)}</code></p><table>{head}{rows}</table>"
