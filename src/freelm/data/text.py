"""The language signal: documents -> tokens -> packed blocks.

Documents are tokenized once into a memory-mapped cache. A block is a slice of the token stream that
remembers where documents end: no token attends to, or is predicted from, another document.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from freelm.data.mixture import Interleave, shuffled
from freelm.data.packing import Batch
from freelm.errors import DataError, available
from freelm.io.cache import cache_dir, cached_folder
from freelm.io.tables import open_parquet

IGNORED = -100
"""Target of positions that are not trained (torch's `ignore_index`)."""

PIECE = 20_000
"""Characters given to the tokenizer at once; it needs gigabytes for a novel in one piece."""


@dataclass(frozen=True)
class TokenStream:
    """Tokens of a corpus's split, one document after the other.

    Attributes:
        tokens: (N,) token ids, memory-mapped.
        document_ends: (D,) index after the last token of each document, rising.
        num_bytes: UTF-8 bytes of the text.
    """

    tokens: np.ndarray
    document_ends: np.ndarray
    num_bytes: int

    def num_blocks(self, length: int) -> int:
        """Number of complete blocks of a length."""
        return len(self.tokens) // length

    def block(self, index: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One block.

        Returns:
            (ids, positions, ends), each (length,): positions count from the document's start in
            the block, ends as in `freelm.data.packing`.
        """
        start = index * length
        ids = np.asarray(self.tokens[start : start + length]).astype(np.int64)
        places = np.arange(start, start + len(ids))
        document = np.searchsorted(self.document_ends, places, side="right")
        ends = np.minimum(self.document_ends[document], start + len(ids)) - start
        first = np.where(document > 0, self.document_ends[document - 1], 0)
        return ids, places - np.maximum(first, start), ends


def corpus_file(data_root: Path, corpus: str, split: str) -> Path:
    """The file of a corpus's split.

    Raises:
        DataError: If the data root has no such corpus or split.
    """
    folder = data_root / "language" / corpus
    if not folder.is_dir():
        parent = data_root / "language"
        there = available(p.name for p in parent.iterdir()) if parent.is_dir() else available([])
        raise DataError(f"{folder}: no such corpus; {there}")
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise DataError(
            f"{path}: no such split; {available(p.stem for p in folder.glob('*.parquet'))}"
        )
    return path


def read_documents(path: Path) -> Iterator[str]:
    """The documents of a corpus file, in order, read in small batches.

    Raises:
        DataError: If the file is unreadable or has no column `text` that holds text.
    """
    with open_parquet(path) as table:
        if "text" not in table.schema.names:
            raise DataError(f"{path}: has no column 'text'; {available(table.schema.names)}")
        kind = table.schema.field("text").type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if kind not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
            raise DataError(f"{path}: column 'text' holds {kind}, not text")
        for batch in table.batches(64, columns=["text"]):
            yield from (text for text in batch.column(0).to_pylist() if text)


def document_separator(tokenizer: Any) -> int:
    """The token that closes a document: `<|endoftext|>` where there is one, else the end token.

    Instruction-tuned bases have another end token, but were pre-trained with this one.
    """
    separator = tokenizer.get_vocab().get("<|endoftext|>", tokenizer.eos_token_id)
    if separator is None:
        raise DataError("the tokenizer has no end-of-text token to separate documents with")
    return int(separator)


def load_token_stream(path: Path, tokenizer: Any) -> TokenStream:
    """Tokens of a corpus file, tokenized on first use and cached.

    Raises:
        DataError: As `read_documents`, or if the file holds no text.
    """
    folder = cached_folder(
        cache_dir() / "tokens" / _cache_key(path, tokenizer),
        lambda new: _write_stream(path, tokenizer, new),
        verify=False,
    )
    facts = json.loads((folder / "stream.json").read_text())
    tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
    ends = np.load(folder / "document_ends.npy", allow_pickle=False)
    return TokenStream(tokens, ends, facts["num_bytes"])


def _cache_key(path: Path, tokenizer: Any) -> str:
    stat = path.stat()
    facts = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items())).encode()
    facts += [hashlib.sha256(vocabulary).hexdigest(), document_separator(tokenizer)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _write_stream(path: Path, tokenizer: Any, folder: Path) -> None:
    separator = document_separator(tokenizer)
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    ends, num_bytes, total, chunks = [], 0, 0, []
    for document in read_documents(path):
        ids = [*_tokenize(tokenizer, document), separator]
        num_bytes += len(document.encode())
        total += len(ids)
        ends.append(total)
        chunks.append(np.array(ids, dtype=dtype))
    if not chunks:
        raise DataError(f"{path}: holds no text")
    np.save(folder / "tokens.npy", np.concatenate(chunks))
    np.save(folder / "document_ends.npy", np.array(ends, dtype=np.int64))
    (folder / "stream.json").write_text(json.dumps({"num_bytes": num_bytes}))


def _tokenize(tokenizer: Any, document: str) -> list[int]:
    """Token ids of a document, piece by piece, cut at spaces so that no word is split."""
    pieces, start = [], 0
    while start < len(document):
        stop = start + PIECE
        if stop < len(document):
            stop = document.rfind(" ", start + 1, stop)
            stop = stop if stop > start else start + PIECE
        pieces.append(document[start:stop])
        start = stop
    encoded = tokenizer(pieces, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [token for piece in encoded for token in piece]


@dataclass(frozen=True, slots=True)
class LanguageBatch:
    """Blocks of text and the next token at each position.

    Attributes:
        batch: The packed blocks (no leaves).
        targets: (B, T) next token, `IGNORED` where a document or the block ends.
    """

    batch: Batch
    targets: torch.Tensor

    @property
    def num_targets(self) -> int:
        """Predicted tokens."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device | str) -> "LanguageBatch":
        """The same batch on another device."""
        return LanguageBatch(self.batch.to(device), self.targets.to(device))


class LanguageSignal:
    """The language signal: each index has one block of one corpus.

    Args:
        streams: Corpus -> its tokens.
        weights: Corpus -> share of the blocks; only ratios matter.
        block_length: Tokens in a block.
        seed: Seed of the order.

    Raises:
        DataError: If a corpus is shorter than one block.
    """

    def __init__(
        self,
        streams: Mapping[str, TokenStream],
        weights: Mapping[str, float],
        block_length: int,
        seed: int,
    ) -> None:
        for name, stream in streams.items():
            if stream.num_blocks(block_length) == 0:
                raise DataError(
                    f"corpus {name!r} has {len(stream.tokens)} tokens, fewer than one block of "
                    f"{block_length}; use a smaller block_length or more text"
                )
        self.streams = streams
        self.block_length = block_length
        self.seed = seed
        self.interleave = Interleave(weights, seed)

    def block_at(self, index: int) -> tuple[str, int]:
        """The corpus and its block number at an index."""
        name, draw = self.interleave.draw(index)
        size = self.streams[name].num_blocks(self.block_length)
        return name, shuffled(draw, size, self.seed, f"language/{name}")

    def batch(self, indices: Sequence[int]) -> LanguageBatch:
        """The blocks at some indices."""
        places = [self.block_at(index) for index in indices]
        return language_batch(
            [self.streams[name].block(block, self.block_length) for name, block in places]
        )


def language_batch(blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> LanguageBatch:
    """Stack blocks (ids, positions, ends) of one length and find their targets."""
    ids, positions, ends = (torch.from_numpy(np.stack(part)) for part in zip(*blocks, strict=True))
    targets = torch.full_like(ids, IGNORED)
    follows = torch.arange(1, ids.shape[1]) < ends[:, :-1]
    targets[:, :-1] = torch.where(follows, ids[:, 1:], IGNORED)
    batch = Batch(ids, positions, ends, torch.zeros(0, 2, dtype=torch.long), ids.numel())
    return LanguageBatch(batch, targets)
