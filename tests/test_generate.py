import pytest
import torch

import tiny
from freelm.api import FreeLM
from freelm.data.tokens import MARKERS
from freelm.errors import InputError
from freelm.generate import Sampling, generate_text
from tiny_freelm import bias_towards

PROMPT = "The film is a"


def ids(network, text):
    return network.tokenizer.encode(text, add_special_tokens=False)


def test_greedy_equals_hugging_face(tiny_base_folder):
    network = FreeLM.from_pretrained(tiny_base_folder).model.network
    prompt = torch.tensor([ids(network, PROMPT)])
    output = network.causal.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=30, do_sample=False
    )
    expected = network.tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True)
    assert expected
    assert generate_text(network, PROMPT, Sampling(max_new_tokens=30)) == expected


def test_greedy_equals_a_loop_of_whole_forward_passes(model):
    network = model.model.network
    tokens, barred = ids(network, PROMPT), ids(network, "".join(MARKERS))
    assert len(barred) == 4
    written = []
    with torch.no_grad():
        for _ in range(20):
            logits = network.causal(torch.tensor([tokens + written])).logits[0, -1]
            logits[barred] = -torch.inf
            written.append(int(logits.argmax()))
    ended = network.tokenizer.eos_token_id
    assert ended not in written
    assert model.generate(PROMPT, max_new_tokens=20) == network.tokenizer.decode(written)


def test_a_seed_repeats_its_text_and_another_differs(model):
    def write(seed, temperature=2.0):
        return model.generate(PROMPT, max_new_tokens=30, temperature=temperature, seed=seed)

    assert write(3) == write(3)
    assert len({write(seed) for seed in range(4)}) > 1
    assert write(1, temperature=0.0) == write(2, temperature=0.0)


def test_a_low_temperature_or_a_narrow_nucleus_comes_to_the_greedy_text(model):
    greedy = model.generate(PROMPT, max_new_tokens=10)
    assert model.generate(PROMPT, max_new_tokens=10, temperature=0.001) == greedy
    assert model.generate(PROMPT, max_new_tokens=10, temperature=1.0, top_p=1e-9) == greedy


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_markers_are_never_written(own_model, marker, temperature, monkeypatch):
    network = own_model.model.network
    bias_towards(network, ids(network, marker)[0])
    written = []
    own = network.causal.generate

    def spy(*args, **kwargs):
        written.append(own(*args, **kwargs))
        return written[0]

    monkeypatch.setattr(network.causal, "generate", spy)
    own_model.generate(PROMPT, max_new_tokens=12, temperature=temperature)
    length = len(ids(network, PROMPT))
    assert written[0].shape[1] > length
    assert not set(written[0][0, length:].tolist()) & set(ids(network, "".join(MARKERS)))


def test_an_end_of_text_ends_the_text(own_model):
    network = own_model.model.network
    bias_towards(network, network.tokenizer.eos_token_id)
    assert own_model.generate(PROMPT, max_new_tokens=12) == ""


def test_markers_in_a_prompt_are_ordinary_characters(own_model, monkeypatch):
    network = own_model.model.network
    given = []
    own = network.causal.generate
    monkeypatch.setattr(
        network.causal, "generate", lambda prompt, **kw: given.append(prompt) or own(prompt, **kw)
    )
    own_model.generate("[cls] [sep] <|true|> <|endoftext|>", max_new_tokens=2)
    special = {*ids(network, "".join(MARKERS)), network.tokenizer.eos_token_id}
    assert not special & set(given[0][0].tolist())


def test_a_prompt_that_fills_the_window_is_refused(model):
    with pytest.raises(InputError, match=r"the prompt has \d+ tokens; the model's window is 512"):
        model.generate("word " * 1000)


def test_writing_stops_at_the_end_of_the_window(own_model, monkeypatch):
    network = own_model.model.network
    bias_towards(network, ids(network, "x")[0])
    prompt = "x" * (tiny.MAX_POSITIONS - 5)
    room = tiny.MAX_POSITIONS - len(ids(network, prompt))
    assert own_model.generate(prompt, max_new_tokens=100) == "x" * room


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"max_new_tokens": -3}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature must be 0, or from"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": 1e-320}, "temperature"),
        ({"temperature": 1e300}, "temperature"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, not 0"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_numbers_out_of_range_are_refused(model, values, message):
    with pytest.raises(InputError, match=message):
        model.generate(PROMPT, **values)


@pytest.mark.parametrize(
    "values",
    [{"temperature": 1000.0}, {"temperature": 0.001}, {"top_p": 1.0}, {"seed": 2**63 - 1}],
)
def test_numbers_at_the_ends_of_their_ranges_work(model, values):
    model.generate(PROMPT, max_new_tokens=3, **{"temperature": 1.0, **values})
