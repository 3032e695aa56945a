"""Import of checkpoints that the FreeLM paper's own code wrote (arXiv 2305.01616).

Such a checkpoint is a GPT-2 with a class head next to its `lm_head`: `mtc_head.weight` of shape
(tasks, width, labels), without bias, read at the last token, which is `[cls]`; label 1 is "true".
With one task and two labels the head's columns become the two verdict rows, and the verdicts are
the same:

    softmax(h[cls] . [W_false, W_true])[true] = sigmoid(h[cls] . (W_true - W_false))

Only the difference of the rows matters, so it is laid around the mean row of the output embedding:
E = mean -+ (W_true - W_false) / 2. At a position with margin m each verdict token then gets at most
exp(|m| / 2) / V of the next-token probability (V tokens), whereas the head's own columns, which no
language loss has ever seen, could take any share of it and spoil the language model.

Nothing in a checkpoint is run: weights are safetensors, or a `pytorch_model.bin` from which
`torch.load(weights_only=True)` takes tensors and refuses everything else.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from freelm.data.tokens import CLS, SEP, TextForm
from freelm.errors import ModelError, available, first_line
from freelm.io.checksum import file_sha256
from freelm.model.bases import quiet
from freelm.model.markers import add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import ModelFacts, save_model
from freelm.tasks.proposition import Proposition

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
HEAD = "mtc_head.weight"
INPUT = "transformer.wte.weight"
OUTPUT = "lm_head.weight"

_OLD_BUFFERS = (".attn.bias", ".attn.masked_bias")
"""Causal masks that old versions of transformers stored among the weights."""

_SAMPLE = Proposition(("The soup was cold.",), "The guest is satisfied.")


def import_paper_checkpoint(
    folder: Path, out: Path, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Write a checkpoint of the paper's own code as a FreeLM model.

    Embeddings stay tied if they are tied in the checkpoint: the verdict tokens are never an input.

    Args:
        folder: `config.json`, tokenizer files and `model.safetensors` or `pytorch_model.bin`.
        out: Folder of the model.
        say: Told if the checkpoint's tokenizer reads blanks around the markers differently.

    Returns:
        `out`.

    Raises:
        ModelError: If a file is missing or damaged, the model is not GPT-2, or its head is not
            one for one task with two labels.
    """
    if out.resolve() == folder.resolve():
        raise ModelError(f"{out}: is the checkpoint itself; choose another folder for the model")
    config = _read_config(folder)
    file = _weights_file(folder)
    tensors = _read_tensors(file)
    columns = _take_head(tensors, file, config.n_embd)
    tokenizer = _read_tokenizer(folder)
    model = _build_model(config, tensors, file)
    num_rows, num_tokens = model.config.vocab_size, len(tokenizer)
    if num_tokens > num_rows:
        raise ModelError(
            f"{folder}: its tokenizer has {num_tokens} tokens, the embedding in {file.name} has "
            f"{num_rows} rows; they belong to different checkpoints"
        )
    expected = tokenizer.encode(_SAMPLE.text, add_special_tokens=False)
    _declare_markers(tokenizer)
    with quiet():
        form = add_markers(model, tokenizer)
    _write_verdict_rows(model, form, columns, num_tokens)
    alike = expected == [*form.context(_SAMPLE.context).ids, *form.claim(_SAMPLE.claim)]
    if not alike:
        say(
            f"{folder}: its tokenizer reads blanks around {SEP} and {CLS} differently; here blanks "
            "before them are dropped, and verdicts can differ a little from the paper's code"
        )
    facts = ModelFacts(
        kind="full",
        base=None,
        base_checksum=None,
        markers=marker_ids(tokenizer),
        temperature=1.0,
        max_context_tokens=config.n_positions,
        record={
            "imported_from": "the paper's code",
            "weights": {"file": file.name, "sha256": file_sha256(file)},
            "blanks_read_alike": alike,
        },
    )
    with quiet():
        save_model(FreeLMNetwork(model, form).eval(), out, facts)
    return out


# -- reading -------------------------------------------------------------------------------------


def _read_config(folder: Path) -> GPT2Config:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the folder of the checkpoint")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
    kind = data.get("model_type") if isinstance(data, dict) else None
    if kind != "gpt2":
        raise ModelError(f"{path}: model_type is {kind!r}; the paper's code writes 'gpt2'")
    # Only what shapes a GPT-2: keys of the paper's code, or ones that fetch code, are left behind.
    shapes = GPT2Config().to_dict().keys() - {"architectures", "dtype"}
    try:
        with quiet():
            return GPT2Config(**{key: data[key] for key in data.keys() & shapes})
    except Exception as error:  # the configuration class raises many kinds
        raise ModelError(f"{path}: is not a GPT-2 configuration ({first_line(error)})") from None


def _weights_file(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: has neither {WEIGHT_FILES[0]} nor {WEIGHT_FILES[1]}; add one")


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor, without the `module.` that data-parallel training puts before names."""
    if file.suffix == ".safetensors":
        try:
            read = load_file(file)
        except Exception as error:  # safetensors raises its own kind and the system's
            raise ModelError(
                f"{file}: is damaged ({first_line(error)}); copy the checkpoint again"
            ) from None
    else:
        try:
            read = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever the bytes lead the reader to
            raise ModelError(
                f"{file}: is damaged, or holds more than tensors, which is never loaded "
                f"({first_line(error)}); save its state dict alone"
            ) from None
    if not isinstance(read, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in read.items()
    ):
        raise ModelError(f"{file}: holds something else than named tensors; save the state dict")
    return {name.removeprefix("module."): value for name, value in read.items()}


def _take_head(tensors: dict[str, torch.Tensor], file: Path, width: int) -> torch.Tensor:
    """Take the class head out of the tensors: (D, 2) columns of false and true, in fp32."""
    head = tensors.pop(HEAD, None)
    if head is None:
        raise ModelError(f"{file}: has no {HEAD}; it is not a checkpoint of the paper's code")
    shape = tuple(head.shape)
    if head.dim() == 2:
        head = head.unsqueeze(0)
    if head.dim() != 3 or head.shape[1] != width:
        raise ModelError(f"{file}: {HEAD} has shape {shape}, expected (1, {width}, 2)")
    if head.shape[0] != 1:
        raise ModelError(
            f"{file}: {HEAD} has {head.shape[0]} tasks; only a head that all tasks share can be "
            "imported, so keep one task's slice"
        )
    if head.shape[2] != 2:
        raise ModelError(
            f"{file}: {HEAD} has {head.shape[2]} labels; only the two of false and true can be "
            "imported"
        )
    return head[0].float()


def _read_tokenizer(folder: Path) -> Any:
    alone = (folder / "tokenizer.json").is_file()
    for name in () if alone else ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name}: no such file; copy the tokenizer's files there")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # damaged files raise many kinds; the user needs one line
        line = first_line(error)
        raise ModelError(f"{folder}: its tokenizer cannot be loaded ({line})") from None
    added = tokenizer.get_added_vocab()
    missing = [marker for marker in (SEP, CLS) if marker not in tokenizer.get_vocab()]
    if missing:
        raise ModelError(
            f"{folder}: its tokenizer has no token {missing[0]}; add the checkpoint's "
            f"added_tokens.json ({available(added)})"
        )
    return tokenizer


# -- building ------------------------------------------------------------------------------------


def _build_model(
    config: GPT2Config, tensors: dict[str, torch.Tensor], file: Path
) -> GPT2LMHeadModel:
    """The language model in fp32; its embeddings are tied if they are in the checkpoint."""
    tensors = {n: value for n, value in tensors.items() if not n.endswith(_OLD_BUFFERS)}
    if INPUT not in tensors:
        raise ModelError(f"{file}: has no {INPUT}; it is not a GPT-2 checkpoint")
    if OUTPUT not in tensors:
        if not config.tie_word_embeddings:
            raise ModelError(f"{file}: has no {OUTPUT}, though config.json says it is not tied")
        tensors[OUTPUT] = tensors[INPUT]
    elif not torch.equal(tensors[OUTPUT].float(), tensors[INPUT].float()):
        config.tie_word_embeddings = False
    with quiet():
        model = GPT2LMHeadModel(config)
    expected = model.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        what = f"has no {missing[0]}" if missing else f"has an unknown {unknown[0]}"
        raise ModelError(f"{file}: {what}; it does not fit its config.json")
    for name, value in expected.items():
        if tensors[name].shape != value.shape:
            raise ModelError(
                f"{file}: {name} has shape {tuple(tensors[name].shape)}, config.json says "
                f"{tuple(value.shape)}"
            )
    model.load_state_dict(tensors)  # copies into fp32, whatever the checkpoint's type
    return model


def _declare_markers(tokenizer: Any) -> None:
    """Make the markers, at their own ids, such as FreeLM adds them.

    Tokens that were added without being special are read out of what users type.
    """
    tokens = [AddedToken(m, lstrip=True, special=True, normalized=False) for m in (SEP, CLS)]
    tokenizer.add_tokens(tokens, special_tokens=True)


@torch.no_grad()
def _write_verdict_rows(
    model: GPT2LMHeadModel, form: TextForm, columns: torch.Tensor, num_ordinary: int
) -> None:
    """Write the head's difference into the verdict rows, around the mean of the ordinary rows."""
    rows = model.get_output_embeddings().weight
    mean = rows[:num_ordinary].mean(0)
    half = (columns[:, 1] - columns[:, 0]) / 2
    rows[form.false_id] = mean - half
    rows[form.true_id] = mean + half
