"""The model behind the engine: what the server needs of it, and the real one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from freelm.api import FreeLM
from freelm.generate import GenerationRequest, TextGenerator
from freelm.judge.requests import Judgement, PreparedRequest, Request
from freelm.model.bases import WHEEL_BASES, base_folder
from freelm.model.compute.int8 import Int8Linear
from freelm.model.releases import own_folder

SAMPLE_TEXTS, SAMPLE_WORDS = 8, 64
"""Size of the batch that the speed of the machine is measured with at the start."""


class Backend(Protocol):
    """A model. `prepare`, `decode` and `begin` may be called from any thread."""

    def prepare(self, request: Request, name: str = ...) -> PreparedRequest:
        """Tokenize a request."""

    def judge_prepared(self, requests: Sequence[PreparedRequest]) -> list[Judgement]:
        """Judge tokenized requests."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""

    def begin(self, request: GenerationRequest) -> TextGenerator:
        """Tokenize the prompt of a text."""


@dataclass(frozen=True, slots=True)
class PreparedText:
    """A text to write, its prompt tokenized.

    Attributes:
        generator: Its generator, which has not computed anything.
        max_new_tokens: Maximum number of tokens to write.
    """

    generator: TextGenerator
    max_new_tokens: int


class ModelBackend:
    """A FreeLM as the backend of an engine.

    Args:
        model: A loaded model.
    """

    def __init__(self, model: FreeLM) -> None:
        self._judge = model.engine
        self._network = model.model.network

    def prepare(self, request: Request, name: str = "the text") -> PreparedRequest:
        """Tokenize a request; see `Judge.prepare`."""
        return self._judge.prepare(request, name)

    def judge_prepared(self, requests: Sequence[PreparedRequest]) -> list[Judgement]:
        """Judge tokenized requests."""
        return self._judge.judge_prepared(requests)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, markers included."""
        return self._judge.decode(ids)

    def begin(self, request: GenerationRequest) -> TextGenerator:
        """Tokenize the prompt of a text."""
        return TextGenerator(self._network, [request])

    @property
    def dtype(self) -> str:
        """Number type that the model computes in."""
        if any(isinstance(module, Int8Linear) for module in self._network.modules()):
            return "int8"
        dtype = next(self._network.parameters()).dtype
        return {torch.float32: "fp32", torch.bfloat16: "bf16"}.get(dtype, str(dtype))

    def sample_batch(self) -> list[PreparedRequest]:
        """Requests to measure the speed of the machine with, each with a text of its own."""
        return [
            self.prepare(Request((f"{i} " + "word " * SAMPLE_WORDS,), ("It is a sample.",)))
            for i in range(SAMPLE_TEXTS)
        ]


def creation_time(model: str) -> int:
    """When a model was made, in seconds since 1970; 0 if nothing tells.

    That is the date of its newest file: `freelm.json` is written last.
    """
    folder = base_folder(model) if model in WHEEL_BASES else own_folder(model)
    files = [folder] if folder.is_file() else [path for path in folder.glob("*") if path.is_file()]
    return max((int(path.stat().st_mtime) for path in files), default=0)
