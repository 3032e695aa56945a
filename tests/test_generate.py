from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from freelm.api import FreeLM
from freelm.data.tokens import MARKERS
from freelm.errors import InputError
from freelm.generate import (
    GenerationRequest,
    PromptTooLongError,
    Sampling,
    TextGenerator,
    choose_token,
    generate_texts,
)
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork
from tiny_freelm import bias_towards

PROMPT = "The film is a"
PROMPTS = [PROMPT, "In 2019 there were 42 houses in the village. Each had a door, and", "A"]


def ids(network, text):
    return network.tokenizer.encode(text, add_special_tokens=False)


def spied_tokens(monkeypatch):
    """The tokens that are chosen."""
    chosen = []
    own = choose_token

    def spy(logits, sampling, generator):
        chosen.append(own(logits, sampling, generator))
        return chosen[-1]

    monkeypatch.setattr("freelm.generate.choose_token", spy)
    return chosen


def written(network, *requests):
    """The whole text of each request."""
    generator = TextGenerator(network, requests)
    texts = [""] * len(requests)
    while not generator.finished:
        for index, piece in generator.step():
            texts[index] += piece.text
    return texts


# -- greedy ----------------------------------------------------------------------------------------


def test_greedy_equals_hugging_face(tiny_base_folder):
    network = FreeLM.from_pretrained(tiny_base_folder).model.network
    prompt = torch.tensor([ids(network, PROMPT)])
    output = network.causal.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=30, do_sample=False
    )
    expected = network.tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True)
    assert expected
    assert generate_texts(network, [PROMPT], Sampling(max_new_tokens=30)) == [expected]


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


# -- sampling --------------------------------------------------------------------------------------


def frequencies(logits, draws=4_000, **sampling):
    """Share of each token among many draws."""
    generator = torch.Generator().manual_seed(0)
    drawn = [choose_token(logits.clone(), Sampling(**sampling), generator) for _ in range(draws)]
    return np.bincount(drawn, minlength=len(logits)) / draws


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax_of_all_logits(temperature):
    logits = torch.linspace(1, -1, 120)  # more tokens than the 50 of transformers' default top_k
    expected = torch.softmax(logits.double() / temperature, -1).numpy()
    found = frequencies(logits, temperature=temperature, top_p=1.0)
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max() / 4_000)
    assert found[50:].sum() == pytest.approx(expected[50:].sum(), abs=0.02)


def test_top_p_draws_from_the_likeliest_tokens_alone_in_their_proportions():
    logits = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3]))
    found = frequencies(logits, temperature=1.0, top_p=0.75)  # 0.4 + 0.3 < 0.75 <= 0.4 + 0.3 + 0.2
    assert found == pytest.approx([0.0, 4 / 9, 2 / 9, 3 / 9], abs=0.02)


def test_a_model_writes_tokens_beyond_its_50_likeliest(model, monkeypatch):
    network = model.model.network
    with torch.no_grad():
        logits = network.causal(torch.tensor([ids(network, PROMPT)])).logits[0, -1].float()
    logits[ids(network, "".join(MARKERS))] = -torch.inf
    likeliest = set(logits.topk(50).indices.tolist())
    chosen = spied_tokens(monkeypatch)
    for seed in range(60):
        model.generate(PROMPT, max_new_tokens=1, temperature=1.0, top_p=1.0, seed=seed)
    outside = sum(token not in likeliest for token in chosen) / len(chosen)
    expected = 1 - float(torch.softmax(logits, -1)[list(likeliest)].sum())
    assert expected > 0.3
    assert outside == pytest.approx(expected, abs=0.25)


def test_the_global_random_state_stays_as_it_is(model):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = model.generate(PROMPT, max_new_tokens=8, temperature=1.0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    assert model.generate(PROMPT, max_new_tokens=8, temperature=1.0) == first


def test_a_seed_repeats_its_text_and_another_differs(model):
    def write(seed, temperature=2.0):
        return model.generate(PROMPT, max_new_tokens=30, temperature=temperature, seed=seed)

    assert write(3) == write(3)
    assert len({write(seed) for seed in range(4)}) > 1
    assert write(1, temperature=0.0) == write(2, temperature=0.0)


def test_a_low_temperature_or_a_narrow_nucleus_gives_the_greedy_text(model):
    greedy = model.generate(PROMPT, max_new_tokens=10)
    assert model.generate(PROMPT, max_new_tokens=10, temperature=0.001) == greedy
    assert model.generate(PROMPT, max_new_tokens=10, temperature=1.0, top_p=1e-9) == greedy


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_markers_are_never_written(own_model, marker, temperature, monkeypatch):
    network = own_model.model.network
    bias_towards(network, ids(network, marker)[0])
    chosen = spied_tokens(monkeypatch)
    own_model.generate(PROMPT, max_new_tokens=12, temperature=temperature)
    assert chosen
    assert not set(chosen) & set(ids(network, "".join(MARKERS)))


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_texts_of_a_batch_equal_those_written_alone(model, temperature):
    single = [model.generate(p, max_new_tokens=20, temperature=temperature) for p in PROMPTS]
    assert model.generate(PROMPTS, max_new_tokens=20, temperature=temperature) == single
    assert len(set(single)) == 3


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "qwen3"])
def test_padding_changes_nothing_in_any_architecture(architecture):
    tokenizer = tiny.make_tokenizer()
    causal = tiny.make_model(architecture, len(tokenizer), seed=1)
    network = FreeLMNetwork(causal, add_markers(causal, tokenizer)).eval()
    sampling = Sampling(max_new_tokens=12)
    alone = [generate_texts(network, [prompt], sampling)[0] for prompt in PROMPTS]
    assert generate_texts(network, PROMPTS, sampling) == alone


def test_a_text_that_ends_leaves_the_others_unchanged(model):
    network = model.model.network
    requests = [
        GenerationRequest(prompt, Sampling(max_new_tokens=length))
        for prompt, length in zip(PROMPTS, [12, 3, 20], strict=True)
    ]
    alone = [written(network, request)[0] for request in requests]
    assert written(network, *requests) == alone


def test_a_cancelled_text_is_written_no_further(model):
    network = model.model.network
    requests = [GenerationRequest(prompt, Sampling(max_new_tokens=8)) for prompt in PROMPTS]
    generator = TextGenerator(network, requests)
    assert [index for index, _ in generator.step()] == [0, 1, 2]
    generator.cancel(1)
    texts = {0: "", 2: ""}
    while not generator.finished:
        for index, piece in generator.step():
            texts[index] += piece.text
    whole = written(network, *requests)
    assert whole[0].endswith(texts[0])
    assert whole[2].endswith(texts[2])


def test_more_texts_than_a_batch_holds(model, monkeypatch):
    expected = model.generate(PROMPTS, max_new_tokens=5)
    monkeypatch.setattr("freelm.generate.BATCH_TEXTS", 2)
    assert model.generate(PROMPTS, max_new_tokens=5) == expected


# -- pieces ----------------------------------------------------------------------------------------


def test_pieces_add_up_and_count_tokens(model):
    network = model.model.network
    request = GenerationRequest(PROMPT, Sampling(max_new_tokens=12))
    generator, pieces = TextGenerator(network, [request]), []
    assert generator.num_prompt_tokens == [len(ids(network, PROMPT))]
    while not generator.finished:
        pieces += [piece for _, piece in generator.step()]
    assert "".join(p.text for p in pieces) == model.generate(PROMPT, max_new_tokens=12)
    assert [p.num_new_tokens for p in pieces] == list(range(1, 13))
    assert {p.num_prompt_tokens for p in pieces} == {len(ids(network, PROMPT))}
    assert [p.finish_reason for p in pieces] == [None] * 11 + ["length"]


def test_echo_puts_the_prompt_first(model):
    network = model.model.network
    request = GenerationRequest(PROMPT, Sampling(max_new_tokens=5))
    (text,), (echoed,) = written(network, request), written(network, replace(request, echo=True))
    assert echoed == PROMPT + text


def test_a_text_ends_before_its_first_stop_string(model):
    network = model.model.network
    request = GenerationRequest(PROMPT, Sampling(max_new_tokens=20))
    (whole,) = written(network, request)
    for start, length in [(0, 1), (3, 4), (7, 2)]:
        stop = whole[start : start + length]
        stopped = replace(request, stop=("never there", stop))
        assert written(network, stopped) == [whole[: whole.index(stop)]]


def test_an_end_of_text_ends_the_text(own_model):
    network = own_model.model.network
    bias_towards(network, network.tokenizer.eos_token_id)
    assert own_model.generate(PROMPT, max_new_tokens=12) == ""


def test_markers_in_a_prompt_are_ordinary_characters(model):
    network = model.model.network
    (text,) = TextGenerator(
        network, [GenerationRequest("[cls] [sep] <|true|> <|endoftext|>")]
    )._texts
    special = {*ids(network, "".join(MARKERS)), network.tokenizer.eos_token_id}
    assert not special & set(text.prompt)


def test_a_prompt_that_fills_the_window_is_refused(model):
    message = r"the prompt has \d+ tokens; the model's window is 512"
    with pytest.raises(PromptTooLongError, match=message):
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
        ({"max_new_tokens": "5"}, "max_new_tokens must be an integer, not '5'"),
        ({"max_new_tokens": 5.0}, "max_new_tokens must be an integer, not 5.0"),
        ({"max_new_tokens": True}, "max_new_tokens must be an integer"),
        ({"max_new_tokens": None}, "max_new_tokens must be an integer"),
        ({"temperature": "1"}, "temperature must be a number, not '1'"),
        ({"top_p": None}, "top_p must be a number, not None"),
        ({"seed": "x"}, "seed must be an integer, not 'x'"),
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
    [
        {"temperature": 1000.0},
        {"temperature": 0.001},
        {"temperature": 1},
        {"top_p": 1.0},
        {"top_p": np.float32(0.5)},
        {"seed": 2**63 - 1},
        {"seed": np.int64(5)},
    ],
)
def test_numbers_at_the_ends_of_their_ranges_work(model, values):
    model.generate(PROMPT, max_new_tokens=3, **{"temperature": 1.0, **values})
