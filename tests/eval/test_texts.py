import math

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import Metaspace
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

import tiny
from freelm.data.tokens import encode_text
from freelm.errors import DataError
from freelm.eval.items import JudgedRow
from freelm.eval.texts import (
    TextLoss,
    Window,
    ending_predictions,
    parse_word,
    token_sizes,
)


def test_bits_per_byte_by_hand():
    # 10 predicted tokens cost 10 ln 2 nats: 1 bit per token, and 10 tokens are 40 bytes.
    loss = TextLoss(np.array([4.0, 6.0]) * math.log(2), np.array([4, 6]), np.array([10, 30]))
    assert loss.per_token == pytest.approx(math.log(2))
    assert loss.perplexity == pytest.approx(2.0)
    assert loss.bytes_per_token == 4.0
    assert loss.bits_per_byte == pytest.approx(0.25)


def test_intervals_are_over_windows_and_repeat():
    rng = np.random.default_rng(0)
    loss = TextLoss(rng.uniform(10, 50, 40), np.full(40, 10), rng.integers(30, 50, 40))
    perplexity, bits = loss.intervals()
    assert perplexity[0] < loss.perplexity < perplexity[1]
    assert bits[0] < loss.bits_per_byte < bits[1]
    assert loss.intervals() == (perplexity, bits)
    same = TextLoss(np.full(40, 30.0), np.full(40, 10), np.full(40, 40))
    perplexity, bits = same.intervals()
    assert perplexity == pytest.approx((same.perplexity, same.perplexity))
    assert bits == pytest.approx((same.bits_per_byte, same.bits_per_byte))


def test_windows_that_predict_nothing_do_not_count():
    loss = TextLoss.of([Window(6.0, 3, 9), Window(0.0, 0, 0), Window(4.0, 2, 5)])
    assert (loss.nats.tolist(), loss.targets.tolist()) == ([6.0, 4.0], [3, 2])
    assert loss.num_bytes.tolist() == [9, 5]
    for windows in ([Window(0.0, 0, 0)], []):
        with pytest.raises(DataError, match="no token that follows"):
            TextLoss.of(windows)


@pytest.mark.parametrize(
    "change", [{"nats": math.inf}, {"nats": -1.0}, {"targets": 1.5}, {"num_bytes": -1}]
)
def test_a_line_that_is_no_window_is_refused(change):
    line = {"nats": 2.0, "targets": 3, "num_bytes": 12}
    assert Window.parse(line) == Window(2.0, 3, 12)
    with pytest.raises(ValueError, match="nats"):
        Window.parse(line | change)


def test_token_sizes_of_a_byte_level_vocabulary_sum_to_the_bytes_of_any_text():
    tokenizer = tiny.make_tokenizer()
    sizes = token_sizes(tokenizer)
    for text in ("The film is a delight.", "naïve café 日本語 \U0001f600", "two\n\nlines\t"):
        assert sizes[encode_text(tokenizer, text)].sum() == len(text.encode())
    assert not sizes[tokenizer.all_special_ids].any()


def test_token_sizes_of_a_sentencepiece_vocabulary():
    vocabulary = {
        "<unk>": 0,
        "\u2581the": 1,
        "\u2581": 2,
        "<0xC3>": 3,
        "<0xA9>": 4,
        "é": 5,
        "</s>": 6,
    }
    backend = Tokenizer(BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="</s>"
    )
    assert token_sizes(tokenizer).tolist() == [0, 4, 1, 1, 1, 2, 0]


def test_line_without_a_correctness_flag_is_rejected():
    assert [parse_word({"right": right}) for right in (True, False)] == [True, False]
    with pytest.raises(ValueError, match="perhaps"):
        parse_word({"right": "perhaps"})


def test_likeliest_ending_and_likeliest_per_byte_differ():
    rows = [
        JudgedRow("a", 0.0, [-3.0, -2.0, -0.1, -0.2], "d"),
        JudgedRow("b", 2.0, [-1.0, -9.0, -4.0, -1.0, -9.0, -0.5], "d"),
    ]
    found = ending_predictions(rows)
    assert found["completion_accuracy"].predicted.tolist() == [1, 0]
    assert found["completion_accuracy_norm"].predicted.tolist() == [0, 2]
    assert found["completion_accuracy"].targets.tolist() == [0, 2]
