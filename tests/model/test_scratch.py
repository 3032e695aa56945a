import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from freelm.config import ScratchConfig
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork
from freelm.model.scratch import END_OF_TEXT, build_scratch, train_tokenizer
from tiny import SENTENCES, make_tokenizer

SHAPE = ScratchConfig(
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    vocab_size=300,
    max_positions=77,
)
TOKENIZER = make_tokenizer()


def test_the_model_has_the_shape_asked_for() -> None:
    base = build_scratch(SHAPE, SENTENCES, seed=0)
    config = base.model.config
    assert base.name == "scratch"
    assert base.checksum is None
    assert config.vocab_size == len(base.tokenizer) == 300
    assert (config.hidden_size, config.intermediate_size) == (32, 48)
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 4)
    assert config.tie_word_embeddings
    assert base.model.get_input_embeddings().weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert torch.equal(base.model.model.norm.weight, torch.full((32,), 0.4))
    network = FreeLMNetwork(base.model, add_markers(base.model, base.tokenizer))
    assert network.max_positions == 77


def test_weights_and_tokenizer_depend_on_seed_and_text_alone() -> None:
    first = build_scratch(SHAPE, SENTENCES, seed=1)
    torch.manual_seed(99)
    second = build_scratch(SHAPE, iter(SENTENCES), seed=1)
    other = build_scratch(SHAPE, SENTENCES, seed=2)
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(first.model.parameters(), other.model.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@given(st.text(max_size=50))
def test_the_tokenizer_loses_no_text(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert TOKENIZER.decode(ids) == text


def test_the_tokenizer_knows_every_byte_and_where_text_ends() -> None:
    tokenizer = train_tokenizer([], 257)
    assert len(tokenizer) == 257
    assert tokenizer.eos_token == tokenizer.bos_token == END_OF_TEXT
    assert tokenizer.convert_tokens_to_ids(END_OF_TEXT) == 0
    assert len(tokenizer.encode("ä語", add_special_tokens=False)) == 5


@pytest.mark.parametrize("size", [257, 280, 320])
def test_the_vocabulary_is_as_large_as_asked_for(size: int) -> None:
    assert len(train_tokenizer(SENTENCES, size)) == size
