import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import freelm.data.text as text_module
from freelm.data.packing import attention_mask
from freelm.data.text import (
    IGNORED,
    LanguageSignal,
    TokenStream,
    corpus_file,
    document_separator,
    language_batch,
    load_token_stream,
    read_documents,
)
from freelm.data.tokens import encode_text
from freelm.errors import DataError
from freelm.model.scratch import train_tokenizer
from tiny import SENTENCES

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=10)


def write_corpus(path: Path, documents: Any, column: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: documents}), path)
    return path


def stream_of(lengths: list[int]) -> TokenStream:
    """Documents of some lengths; token 100 * d + i is the i-th token of document d."""
    tokens = [100 * d + i for d, length in enumerate(lengths) for i in range(length)]
    return TokenStream(np.array(tokens), np.cumsum(lengths), len(tokens))


# -- blocks ---------------------------------------------------------------------------------------


@given(LENGTHS, st.integers(1, 12))
def test_blocks_are_the_stream_in_order(lengths: list[int], length: int) -> None:
    stream = stream_of(lengths)
    blocks = [stream.block(i, length)[0] for i in range(stream.num_blocks(length))]
    joined = np.concatenate([*blocks, []])
    assert joined.tolist() == stream.tokens[: len(joined)].tolist()
    assert len(stream.tokens) - len(joined) < length


@given(LENGTHS, st.integers(2, 12))
def test_masks_positions_and_targets_stay_within_a_document(
    lengths: list[int], length: int
) -> None:
    stream = stream_of(lengths)
    if not stream.num_blocks(length):
        return
    language = language_batch([stream.block(i, length) for i in range(stream.num_blocks(length))])
    ids, targets, positions = language.batch.ids, language.targets, language.batch.positions
    mask = attention_mask(language.batch.ends)[:, 0]
    document = ids // 100
    for row in range(len(ids)):
        for i in range(length):
            same = [j for j in range(i + 1) if document[row, j] == document[row, i]]
            assert mask[row, i].nonzero().flatten().tolist() == same
            assert int(positions[row, i]) == len(same) - 1
            follows = i + 1 < length and document[row, i + 1] == document[row, i]
            expected = int(ids[row, i + 1]) if follows else IGNORED
            assert int(targets[row, i]) == expected
    assert language.num_targets == int((targets != IGNORED).sum())
    assert language.batch.num_tokens == ids.numel()
    assert len(language.batch.leaves) == 0


def test_a_block_worked_by_hand() -> None:
    language = language_batch([stream_of([3, 2, 4]).block(0, 8)])
    assert language.batch.ids.tolist() == [[0, 1, 2, 100, 101, 200, 201, 202]]
    assert language.batch.positions.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert language.batch.ends.tolist() == [[3, 3, 3, 5, 5, 8, 8, 8]]
    assert language.targets.tolist() == [[1, 2, IGNORED, 101, IGNORED, 201, 202, IGNORED]]


def test_positions_restart_where_a_block_cuts_a_document() -> None:
    ids, positions, ends = stream_of([10]).block(1, 4)
    assert ids.tolist() == [4, 5, 6, 7]
    assert positions.tolist() == [0, 1, 2, 3]
    assert ends.tolist() == [4, 4, 4, 4]


# -- order ----------------------------------------------------------------------------------------


def test_order_is_a_function_of_seed_and_index() -> None:
    streams, weights = {"a": stream_of([90]), "b": stream_of([70])}, {"a": 1.0, "b": 2.0}
    one, other = (LanguageSignal(streams, weights, 8, seed=4) for _ in range(2))
    places = {i: one.block_at(i) for i in range(300)}
    assert {i: other.block_at(i) for i in reversed(range(300))} == places
    third = LanguageSignal(streams, weights, 8, seed=5)
    assert [third.block_at(i) for i in range(300)] != list(places.values())
    batch = one.batch([17, 3])
    for row, index in enumerate((17, 3)):
        name, block = places[index]
        assert batch.batch.ids[row].tolist() == streams[name].block(block, 8)[0].tolist()


def test_every_block_once_per_epoch() -> None:
    signal = LanguageSignal({"a": stream_of([100])}, {"a": 1.0}, 8, seed=0)
    orders = []
    for epoch in range(3):
        order = [signal.block_at(epoch * 12 + i)[1] for i in range(12)]
        assert sorted(order) == list(range(12))
        orders.append(tuple(order))
    assert len(set(orders)) == 3


def test_corpora_have_their_shares() -> None:
    streams = {"a": stream_of([500]), "b": stream_of([50])}
    signal = LanguageSignal(streams, {"a": 1.0, "b": 3.0}, 8, seed=0)
    assert Counter(signal.block_at(i)[0] for i in range(1024)) == {"a": 256, "b": 768}


def test_a_corpus_shorter_than_a_block_is_named() -> None:
    with pytest.raises(DataError, match="corpus 'b' has 5 tokens, fewer than one block of 8"):
        LanguageSignal({"a": stream_of([9]), "b": stream_of([5])}, {"a": 1.0, "b": 1.0}, 8, 0)


# -- tokenizing and its cache ---------------------------------------------------------------------


def test_documents_are_tokenized_one_by_one_with_a_separator(
    tmp_path: Path, tiny_tokenizer: Any
) -> None:
    documents = [*SENTENCES, "A <|endoftext|> within.", "語 ä"]
    stream = load_token_stream(write_corpus(tmp_path / "c.parquet", documents), tiny_tokenizer)
    end = tiny_tokenizer.eos_token_id
    expected = [[*encode_text(tiny_tokenizer, d), end] for d in documents]
    assert stream.tokens.tolist() == [i for ids in expected for i in ids]
    assert stream.document_ends.tolist() == np.cumsum([len(ids) for ids in expected]).tolist()
    assert stream.num_bytes == sum(len(d.encode()) for d in documents)
    assert Counter(stream.tokens.tolist())[end] == len(documents)


def test_empty_and_missing_documents_are_left_out(tmp_path: Path, tiny_tokenizer: Any) -> None:
    path = write_corpus(tmp_path / "c.parquet", ["one", "", None, "two"])
    assert list(read_documents(path)) == ["one", "two"]
    assert len(load_token_stream(path, tiny_tokenizer).document_ends) == 2


def test_a_column_of_categories_is_text_too(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "c.parquet", pa.array(["b", "a", "b"]).dictionary_encode())
    assert list(read_documents(path)) == ["b", "a", "b"]


def test_the_second_load_does_not_tokenize(
    tmp_path: Path, own_cache: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_corpus(tmp_path / "c.parquet", list(SENTENCES))
    first = load_token_stream(path, tiny_tokenizer)

    def fail(*args: object) -> None:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(text_module, "_tokenize", fail)
    again = load_token_stream(path, tiny_tokenizer)
    assert isinstance(again.tokens, np.memmap)
    assert again.tokens.tolist() == first.tokens.tolist()
    assert again.document_ends.tolist() == first.document_ends.tolist()
    assert again.num_bytes == first.num_bytes


def test_a_changed_file_or_tokenizer_is_tokenized_anew(
    tmp_path: Path, own_cache: Path, tiny_tokenizer: Any
) -> None:
    path = write_corpus(tmp_path / "c.parquet", ["one cat sleeps"])
    old = load_token_stream(path, tiny_tokenizer).tokens.tolist()
    write_corpus(path, ["two dogs sleep"])
    os.utime(path, ns=(1, 1))
    new = load_token_stream(path, tiny_tokenizer).tokens.tolist()
    assert new == [*encode_text(tiny_tokenizer, "two dogs sleep"), tiny_tokenizer.eos_token_id]
    assert new != old
    bytes_only = train_tokenizer(["x"], 257)
    other = load_token_stream(path, bytes_only).tokens.tolist()
    assert len(other) == len("two dogs sleep") + 1


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, own_cache: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_corpus(tmp_path / "c.parquet", list(SENTENCES))
    calls = []

    def stop(tokenizer: Any, document: str) -> list[int]:
        calls.append(document)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return [1]

    with monkeypatch.context() as patch:
        patch.setattr(text_module, "_tokenize", stop)
        with pytest.raises(KeyboardInterrupt):
            load_token_stream(path, tiny_tokenizer)
    assert [path.suffix for path in (own_cache / "tokens").iterdir()] == [".lock"]
    assert len(load_token_stream(path, tiny_tokenizer).document_ends) == len(SENTENCES)


@pytest.mark.parametrize("piece", [15, 20, 50])
def test_cutting_a_document_in_pieces_changes_no_token(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    text = " ".join(SENTENCES)
    monkeypatch.setattr(text_module, "PIECE", piece)
    assert text_module._tokenize(tiny_tokenizer, text) == encode_text(tiny_tokenizer, text)


@given(st.text("ab \n語<|endoftext|>", min_size=1, max_size=60), st.integers(1, 20))
def test_pieces_lose_no_text(text: str, piece: int) -> None:
    tokenizer = train_tokenizer(["ab"], 257)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "PIECE", piece)
        ids = text_module._tokenize(tokenizer, text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id not in ids


def test_a_novel_without_a_single_space_works(tmp_path: Path, tiny_tokenizer: Any) -> None:
    novel = "thecatsleepsonthemat" * 20_000
    stream = load_token_stream(write_corpus(tmp_path / "c.parquet", [novel]), tiny_tokenizer)
    assert tiny_tokenizer.decode(np.asarray(stream.tokens[:-1]).tolist()) == novel


def test_the_separator_is_what_the_base_was_pretrained_with(tiny_tokenizer: Any) -> None:
    end = tiny_tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert document_separator(tiny_tokenizer) == end
    tiny_tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    assert tiny_tokenizer.eos_token_id != end
    assert document_separator(tiny_tokenizer) == end


def test_a_tokenizer_without_an_end_is_refused(tiny_tokenizer: Any) -> None:
    class Endless:
        eos_token_id = None

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    with pytest.raises(DataError, match="no end-of-text token"):
        document_separator(Endless())


# -- files ----------------------------------------------------------------------------------------


def test_a_missing_corpus_or_split_names_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such corpus; none available"):
        corpus_file(tmp_path, "wiki", "train")
    path = write_corpus(tmp_path / "language" / "books" / "train.parquet", ["a"])
    assert corpus_file(tmp_path, "books", "train") == path
    with pytest.raises(DataError, match="wiki: no such corpus; available: books"):
        corpus_file(tmp_path, "wiki", "train")
    with pytest.raises(DataError, match=r"test\.parquet: no such split; available: train"):
        corpus_file(tmp_path, "books", "test")


def test_a_file_without_text_is_named(tmp_path: Path, tiny_tokenizer: Any) -> None:
    for documents in (pa.array([], pa.string()), [""], [None]):
        path = write_corpus(tmp_path / "c.parquet", documents)
        with pytest.raises(DataError, match=r"c\.parquet: holds no text"):
            load_token_stream(path, tiny_tokenizer)


def test_a_file_without_a_text_column_names_its_columns(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "c.parquet", ["a"], column="content")
    with pytest.raises(DataError, match="no column 'text'; available: content"):
        list(read_documents(path))


def test_a_text_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "c.parquet", [1, 2])
    with pytest.raises(DataError, match=r"c\.parquet: column 'text' holds int64, not text"):
        list(read_documents(path))


@pytest.mark.parametrize("content", [b"", b"text\nhello\n", b"PAR1 but no more"])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"c\.parquet: cannot be read as Parquet"):
        list(read_documents(path))


def test_targets_can_be_moved_with_their_batch() -> None:
    language = language_batch([stream_of([3, 5]).block(0, 8)])
    moved = language.to("cpu")
    assert torch.equal(moved.targets, language.targets)
    assert torch.equal(moved.batch.ends, language.batch.ends)
