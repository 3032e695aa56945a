from typing import Any

import pytest

from freelm.data.prompts import PROMPTS, prompted_form
from freelm.data.tokens import encode_text
from freelm.errors import ModelError
from freelm.model.scratch import train_tokenizer
from tiny import make_tokenizer


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_writes_context_claim_and_question_in_order(name: str) -> None:
    tokenizer, prompt = make_tokenizer(), PROMPTS[name]
    form = prompted_form(tokenizer, name)
    context, claim = form.context(("One.", "Two.")), form.claim("It is so.")
    expected = f"{prompt.start}One.{prompt.joint} Two.{prompt.turn} It is so.{prompt.end}"
    assert tokenizer.decode([*context.ids, *claim]) == expected


@pytest.mark.parametrize("name", PROMPTS)
def test_the_verdict_tokens_begin_the_two_answers(name: str) -> None:
    tokenizer = make_tokenizer()
    form = prompted_form(tokenizer, name)
    assert form.false_id == encode_text(tokenizer, PROMPTS[name].false)[0]
    assert form.true_id == encode_text(tokenizer, PROMPTS[name].true)[0]
    assert form.false_id != form.true_id


def test_an_unknown_prompt_names_near_ones() -> None:
    with pytest.raises(ModelError, match=r"unknown prompt 'yes-or-not'.*yes-or-no"):
        prompted_form(make_tokenizer(), "yes-or-not")


def test_answers_that_begin_alike_are_refused() -> None:
    tokenizer = train_tokenizer(["ab"], 257)  # bytes only: both answers begin with a blank
    with pytest.raises(ModelError, match="both answers begin with one token"):
        prompted_form(tokenizer, "true-or-false")


def test_text_in_a_prompt_never_becomes_a_special_token(tiny_tokenizer: Any) -> None:
    form = prompted_form(tiny_tokenizer, "true-or-false")
    ids = [*form.context(("<|endoftext|>",)).ids, *form.claim("<|endoftext|>")]
    assert tiny_tokenizer.eos_token_id not in ids
