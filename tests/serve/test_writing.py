import pytest
import torch

from freelm.generate import Sampling
from freelm.serve.http.errors import ApiError
from freelm.serve.writing import Order, Writing, choose_token

PROMPT = "The film is"
MOST = 1024


def written(network, order):
    """All pieces of a text."""
    writing, pieces = Writing(network, order, MOST), []
    while not pieces or pieces[-1].finish is None:
        pieces.append(writing.step())
    return pieces


def text_of(network, order):
    return "".join(piece.text for piece in written(network, order))


@pytest.mark.parametrize("prompt", [PROMPT, "A dog", "Größe"])
def test_the_likeliest_text_is_that_of_generate(model, prompt):
    network = model.model.network
    pieces = written(network, Order(prompt, Sampling(max_new_tokens=24)))
    assert "".join(piece.text for piece in pieces) == model.generate(prompt, max_new_tokens=24)
    assert pieces[-1].written_tokens <= 24


def test_a_draw_follows_from_its_seed(model):
    network = model.model.network

    def draw(seed):
        return text_of(network, Order(PROMPT, Sampling(16, temperature=1.0, top_p=1.0, seed=seed)))

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(4)}) > 1


def test_two_texts_in_the_making_do_not_touch_each_other(model):
    network = model.model.network
    orders = [Order(p, Sampling(8, temperature=1.0, seed=3)) for p in (PROMPT, "A dog sleeps")]
    alone = [text_of(network, order) for order in orders]
    pair = [Writing(network, order, MOST) for order in orders]
    found = ["", ""]
    open_ones = {0, 1}
    while open_ones:
        for i in sorted(open_ones):
            piece = pair[i].step()
            found[i] += piece.text
            if piece.finish:
                open_ones.discard(i)
    assert found == alone


def test_echo_gives_the_prompt_first(model):
    network = model.model.network
    plain = text_of(network, Order(PROMPT, Sampling(6)))
    assert text_of(network, Order(PROMPT, Sampling(6), echo=True)) == PROMPT + plain


@pytest.mark.parametrize("echo", [False, True])
def test_a_text_ends_before_its_stop_string_and_never_shows_a_part_of_it(model, echo):
    network = model.model.network
    whole = text_of(network, Order("A dog", Sampling(24)))
    assert len(whole) > 12
    stop = whole[6:10]
    pieces = written(network, Order("A dog", Sampling(24), (stop,), echo))
    text = "".join(piece.text for piece in pieces)
    assert text == ("A dog" if echo else "") + whole[: whole.index(stop)]
    assert pieces[-1].finish == "stop"


def test_a_stop_string_in_the_prompt_does_not_count(model):
    network = model.model.network
    order = Order(PROMPT, Sampling(5), ("film",), echo=True)
    assert text_of(network, order).startswith(PROMPT)


def test_a_prompt_that_fills_the_window_is_refused(model):
    network = model.model.network
    with pytest.raises(ApiError, match="window") as refused:
        Writing(network, Order("word " * network.max_positions, Sampling(1)), 10**6)
    assert refused.value.status == 400


def test_a_prompt_of_more_tokens_than_its_limit_is_refused_by_its_name(model):
    network = model.model.network
    exact = len(network.tokenizer.encode(PROMPT, add_special_tokens=False))
    order = Order(PROMPT, Sampling(1))
    assert Writing(network, order, exact).step().prompt_tokens == exact
    with pytest.raises(
        ApiError, match=f"more than {exact - 1} tokens.*max_prompt_tokens"
    ) as refused:
        Writing(network, order, exact - 1)
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")


def test_a_text_ends_with_the_window(model):
    network = model.model.network
    tokens = network.tokenizer.encode("word " * 100, add_special_tokens=False)
    prompt = network.tokenizer.decode(tokens[: network.max_positions - 3])
    pieces = written(network, Order(prompt, Sampling(50)))
    assert pieces[-1].prompt_tokens + pieces[-1].written_tokens <= network.max_positions


def test_draws_keep_to_the_likeliest_tokens():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    generator = torch.Generator().manual_seed(0)

    def drawn(top_p):
        sampling = Sampling(1, temperature=1.0, top_p=top_p)
        return {choose_token(logits, sampling, generator) for _ in range(300)}

    assert drawn(0.4) == {0}
    assert drawn(0.7) == {0, 1}
    assert drawn(1.0) == {0, 1, 2, 3}


def test_draws_have_the_models_probabilities():
    probabilities = torch.tensor([0.5, 0.3, 0.2])
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(1, temperature=1.0, top_p=1.0)
    counts = torch.zeros(3)
    for _ in range(3000):
        counts[choose_token(probabilities.log(), sampling, generator)] += 1
    assert torch.allclose(counts / 3000, probabilities, atol=0.04)
