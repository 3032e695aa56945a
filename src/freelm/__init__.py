"""FreeLM: one small language model, trained on text and on true/false propositions.

    from freelm import FreeLM

    model = FreeLM.from_pretrained("runs/smollm2-135m-cpu/model")
    model.judge("The soup was cold.", "The customer is satisfied.").probability

Importing this package imports nothing heavy; `FreeLM` is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from freelm.errors import FreeLMError
from freelm.judge.answers import (
    AnswerCheck,
    Check,
    Classification,
    Ranked,
    Score,
    SentenceCheck,
    Verdict,
)
from freelm.model.compute.threads import wait_passively

if TYPE_CHECKING:
    from freelm.api import FreeLM

__version__ = "0.1.0"

__all__ = [
    "AnswerCheck",
    "Check",
    "Classification",
    "FreeLM",
    "FreeLMError",
    "Ranked",
    "Score",
    "SentenceCheck",
    "Verdict",
]


wait_passively()


def __getattr__(name: str) -> Any:
    if name == "FreeLM":
        return import_module("freelm.api").FreeLM
    raise AttributeError(f"module 'freelm' has no attribute {name!r}")
