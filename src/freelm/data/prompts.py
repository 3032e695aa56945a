"""Prompts by which an untrained base is judged: the stated baseline of every comparison.

A prompt puts the context and the claim into a question in plain words; the two verdict tokens are
the words that would answer it. It is a text form like FreeLM's own, so both run on one engine.
"""

from dataclasses import dataclass
from typing import Any

from freelm.data.tokens import TextForm, encode_text
from freelm.errors import ModelError, suggest


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question around a proposition: `{start}{part}{joint}{part}{turn} {claim}{end}{answer}`."""

    start: str
    joint: str
    turn: str
    end: str
    false: str
    true: str


PROMPTS = {
    "true-or-false": Prompt(
        start="Text: ",
        joint="\n",
        turn="\nStatement:",
        end="\nIs the statement true or false? Answer:",
        false=" False",
        true=" True",
    ),
    "yes-or-no": Prompt(
        start="",
        joint="\n",
        turn="\nQuestion: Is the following correct?",
        end=" Yes or no?\nAnswer:",
        false=" No",
        true=" Yes",
    ),
    "right-or-wrong": Prompt(
        start="Read the text. ",
        joint=" / ",
        turn="\nA student says:",
        end="\nThe student is",
        false=" wrong",
        true=" right",
    ),
}


def prompted_form(tokenizer: Any, name: str) -> TextForm:
    """The text form of a prompt; an answer is judged by its first token.

    Raises:
        ModelError: If there is no such prompt or both answers begin with one token.
    """
    if name not in PROMPTS:
        raise ModelError(f"unknown prompt {name!r}; {suggest(name, PROMPTS)}")
    prompt = PROMPTS[name]
    start, joint, turn, end = (
        tuple(encode_text(tokenizer, text)) if text else ()
        for text in (prompt.start, prompt.joint, prompt.turn, prompt.end)
    )
    false, true = encode_text(tokenizer, prompt.false), encode_text(tokenizer, prompt.true)
    if false[0] == true[0]:
        raise ModelError(f"prompt {name!r}: both answers begin with one token in this tokenizer")
    return TextForm(tokenizer, start, joint, turn, end, false[0], true[0])
