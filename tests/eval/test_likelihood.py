import pytest
import torch

import tiny
from freelm.errors import InputError
from freelm.eval.likelihood import (
    continuation_likelihoods,
    encode_pair,
    text_likelihood,
    token_likelihoods,
)
from tiny_freelm import bias_towards, tiny_network

PAIRS = [
    ("The film is", " a delight."),
    ("The film is a delight from the first scene", " to the last."),
    ("A cat sleeps on ", "the mat"),
    ("", "The dog is not there."),
    ("The film is", " a"),
]


@pytest.fixture(scope="module")
def network():
    return tiny_network()


def stock_log(network, ids, count):
    """Log-likelihood of the last tokens by a stock forward pass over one sequence."""
    with torch.no_grad():
        logits = network.causal(torch.tensor([ids])).logits[0]
    logs = logits.double().log_softmax(-1)
    return float(sum(logs[i - 1, ids[i]] for i in range(len(ids) - count, len(ids))))


def test_likelihoods_equal_the_stock_model_in_any_batch(network):
    found = continuation_likelihoods(network, PAIRS)
    for pair, likelihood in zip(PAIRS, found, strict=True):
        ids, count = encode_pair(network, *pair)
        assert likelihood.log == pytest.approx(stock_log(network, ids, count), abs=1e-4)
        (alone,) = continuation_likelihoods(network, [pair])
        assert alone.log == pytest.approx(likelihood.log, abs=1e-5)


def test_a_continuation_is_worth_the_product_of_its_parts(network):
    whole, first = continuation_likelihoods(network, [PAIRS[0], PAIRS[4]])
    (rest,) = continuation_likelihoods(network, [("The film is a", " delight.")])
    assert whole.log == pytest.approx(first.log + rest.log, abs=1e-4)


def test_greedy_is_what_greedy_decoding_would_write(network):
    own = tiny_network()
    ids, _ = encode_pair(own, "The film is", " a")
    bias_towards(own, ids[-1])
    likely, unlikely = continuation_likelihoods(own, [("The film is", " a"), ("The film", " is")])
    assert likely.is_greedy
    assert likely.log == pytest.approx(0, abs=1e-3)
    assert not unlikely.is_greedy


def test_a_space_at_the_end_of_the_context_belongs_to_the_next_word(network):
    assert encode_pair(network, "on ", "the mat") == encode_pair(network, "on", " the mat")


def test_the_oldest_words_of_a_long_context_go_first(network):
    ids, count = encode_pair(network, "cat " * 3 * tiny.MAX_POSITIONS, " sleeps")
    assert len(ids) == tiny.MAX_POSITIONS + 1
    (found,) = token_likelihoods(network, [(ids, count)])
    # The window holds all but the last token, which is predicted only.
    with torch.no_grad():
        logits = network.causal(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    expected = sum(float(logits[i - 1, ids[i]]) for i in range(len(ids) - count, len(ids)))
    assert found.log == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("pair", [("The film", ""), ("The film", " cat" * 3 * tiny.MAX_POSITIONS)])
def test_what_cannot_be_scored_is_refused(network, pair):
    with pytest.raises(InputError, match="continuation"):
        continuation_likelihoods(network, [pair])


def test_every_token_of_a_long_text_is_predicted_once(network):
    own = tiny_network()
    with torch.no_grad():
        own.causal.get_output_embeddings().weight.zero_()
    text = "cat sleeps " * tiny.MAX_POSITIONS
    count = len(own.tokenizer.encode(text, add_special_tokens=False))
    assert count > 2 * tiny.MAX_POSITIONS
    size = own.causal.get_output_embeddings().weight.shape[0]
    expected = -count * float(torch.tensor(float(size)).log())
    assert text_likelihood(own, text) == pytest.approx(expected, rel=1e-5)


def test_short_text_has_the_loss_of_its_only_window(network):
    (found,) = continuation_likelihoods(network, [("", PAIRS[3][1])])
    assert text_likelihood(network, PAIRS[3][1]) == pytest.approx(found.log, abs=1e-5)
