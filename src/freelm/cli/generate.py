"""`freelm generate`: continue a text."""

from typing import Annotated

import typer

from freelm.cli.options import DEFAULT_MODEL, Device, Dtype, Model, Threads, load


def generate(
    prompt: Annotated[str, typer.Argument(help="The beginning of the text.")],
    max_new_tokens: Annotated[int, typer.Option(help="Maximum number of tokens to write.")] = 64,
    temperature: Annotated[
        float,
        typer.Option(help="0 takes the likeliest token; above 0 tokens are sampled."),
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            help="Sample from the likeliest tokens that together have this probability; 1 samples "
            "from all."
        ),
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    model: Model = DEFAULT_MODEL,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Continue a text.

    Example: freelm generate "The river" --max-new-tokens 20
    """
    loaded = load(model, dtype=dtype, device=device)
    print(prompt + loaded.generate(prompt, max_new_tokens, temperature, top_p, seed))
