"""`freelm check` and `freelm rank`: an answer or a query and the texts to compare it with."""

from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import (
    DEFAULT_MODEL,
    Device,
    Dtype,
    Json,
    Long,
    Model,
    Text,
    Threads,
    load_judge,
    print_json,
    read_text,
)

From = Annotated[
    list[Path] | None,
    typer.Option("--from", help="A UTF-8 text file with one more text; may be repeated."),
]


def check(
    text: Text = "-",
    claim: Annotated[
        str | None, typer.Argument(help="The claim: one sentence, or an answer of several.")
    ] = None,
    sources: From = None,
    model: Model = DEFAULT_MODEL,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
    long_texts: Long = "truncate",
    as_json: Json = False,
) -> None:
    """Check whether a text supports a claim, contradicts it, or does not say.

    Each sentence of the claim is compared with each passage of the text and of the files given
    with --from; the passage that decides is printed below the result.

    Example: freelm check "The museum opened in 1911." "It opened in 1920. Entry is free."
    """
    if claim is None:
        raise typer.BadParameter("give a text (or -) and a claim")
    texts = [read_text(text), *_read_files(sources)]
    loaded = load_judge(model, dtype=dtype, device=device, long_texts=long_texts)
    found = loaded.check_answer(claim, texts)
    if as_json:
        print_json(sentence.as_dict() for sentence in found.sentences)
        return
    for one in found.sentences:
        print(f"{one.result:12}  {one.probabilities[one.result]:.3f}  {one.sentence}")
        print(f"{'':12}  source {one.source}: {one.passage}")


def rank(
    query: Annotated[str, typer.Argument(help="The query.")],
    documents: Annotated[
        list[str] | None,
        typer.Argument(
            help="The documents; - or nothing reads one per line of standard input.",
            show_default=False,
        ),
    ] = None,
    files: From = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", min=1, help="Show only the best N documents.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
    long_texts: Long = "truncate",
    as_json: Json = False,
) -> None:
    """Order documents by how likely they answer a query, the likeliest first.

    Example: freelm rank "When does it open?" "Bring a coat." "It opens at nine."
    """
    given = list(documents or ([] if files else ["-"]))
    if given == ["-"]:
        given = [line for line in read_text("-").splitlines() if line.strip()]
    texts = [*given, *_read_files(files)]
    loaded = load_judge(model, dtype=dtype, device=device, long_texts=long_texts)
    ranked = loaded.rank(query, texts)[:top_n]
    if as_json:
        print_json(document.as_dict() for document in ranked)
        return
    for document in ranked:
        print(
            f"{document.probability:.3f}  {document.index}  {' '.join(document.document.split())}"
        )


def _read_files(paths: list[Path] | None) -> list[str]:
    """The texts of files.

    Raises:
        DataError: If one cannot be read or is not UTF-8.
    """
    from freelm.errors import DataError, os_reason

    texts = []
    for path in paths or []:
        try:
            texts.append(path.read_text(encoding="utf-8-sig").rstrip("\r\n"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({os_reason(error)})") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 (byte {error.start})") from None
    return texts
