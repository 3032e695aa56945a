"""`freelm`: the command line. Data goes to standard output, words to standard error.

Exit codes: 0 done, 1 failure, 2 usage, 130 interrupted. Heavy imports happen inside the commands.
"""

import logging
import os
import sys
from typing import Annotated, Any

import typer

from freelm import __version__
from freelm.cli import (
    bench,
    calibrate,
    card,
    compare,
    data,
    demo,
    evaluate,
    export,
    generate,
    judge,
    serve,
    sources,
    tasks,
    train,
)
from freelm.errors import FreeLMError

app = typer.Typer(
    name="freelm",
    help="One small language model that judges claims and writes text, without fine-tuning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


# Typer has its own copy of click; the parent of its usage errors has no public name.
_UsageError: Any = typer.BadParameter.__bases__[0]


EXTRAS = {
    "matplotlib": "train",
    "scipy": "train",
    "sklearn": "train",
    "lm_eval": "eval",
    "datasets": "hub",
    "fastapi": "serve",
    "uvicorn": "serve",
    "gliclass": "bench",
}
"""Module -> extra of pyproject.toml that installs it; commands import these when they need them."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """One small language model that judges claims and writes text, without fine-tuning.

    With any command, --verbose explains what is chosen and --debug shows tracebacks.
    """


app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("calibrate")(calibrate.calibrate)
app.command("card")(card.card)
app.command("export")(export.export)
app.command("judge")(judge.judge)
app.command("classify")(judge.classify)
app.command("score")(judge.score)
app.command("check")(sources.check)
app.command("rank")(sources.rank)
app.command("generate")(generate.generate)
app.command("serve")(serve.serve)
app.add_typer(tasks.app, name="tasks")
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")


def run(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with its exit code.

    Args:
        arguments: Words after `freelm`; None means the process's own. Anywhere among them,
            `--debug` shows tracebacks and `--verbose` logs decisions such as the number type.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if "--verbose" in words:
        logging.basicConfig(stream=sys.stderr, format="freelm: %(message)s")
        logging.getLogger("freelm").setLevel(logging.INFO)
    words = [word for word in words if word not in ("--debug", "--verbose")]
    sys.exit(_exit_code(words, debug))


def _exit_code(words: list[str], debug: bool) -> int:
    try:
        return _invoke(words)
    except _UsageError as error:
        error.show(sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort) as error:
        print(f"freelm: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone: nothing is left to say, and Python must not say it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FreeLMError as error:
        if debug:
            raise
        print(f"freelm: error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, ModuleNotFoundError) and (extra := _extra_with(error.name)):
            print(
                f"freelm: error: this command needs {error.name}: pip install 'freelm[{extra}]'",
                file=sys.stderr,
            )
            return 1
        line = " ".join(str(error).split())
        print(
            f"freelm: unexpected {type(error).__name__}: {line} (--debug shows where)",
            file=sys.stderr,
        )
        return 1


def _extra_with(module: str | None) -> str | None:
    """The optional dependencies that a missing module belongs to."""
    return EXTRAS.get((module or "").partition(".")[0])


def _invoke(words: list[str]) -> int:
    """Run a command; not by `app(...)`, which gives its own answers to Ctrl-C and closed pipes."""
    command = typer.main.get_command(app)
    code = 0
    try:
        with command.make_context("freelm", words) as context:
            command.invoke(context)
    except typer.Exit as error:
        code = error.exit_code
    sys.stdout.flush()
    return code
