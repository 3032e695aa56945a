"""`freelm generate`: continue a text."""

from typing import Annotated

import typer

from freelm.cli.options import DEFAULT_MODEL, Model, load


def generate(
    prompt: Annotated[str, typer.Argument(help="How the text begins.")],
    max_new_tokens: Annotated[int, typer.Option(help="Tokens written at most.")] = 64,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token; above that tokens are drawn.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens with this much probability.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    model: Model = DEFAULT_MODEL,
) -> None:
    """Continue a text.

    Example: freelm generate "The river" --max-new-tokens 20 --model DIR
    """
    print(prompt + load(model).generate(prompt, max_new_tokens, temperature, top_p, seed))
