import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.serve.http import compression
from freelm.serve.http.compression import DECOMPRESSORS, decompress
from freelm.serve.http.errors import ApiError

MOST = 100_000


def zstd(data):
    found = compression._ZSTD
    if found is None:
        pytest.skip("this Python 3.14 was built without zstd")
    # Without a checksum, which is not the default, a changed byte of text is a text like another.
    return found.compress(data, options={found.CompressionParameter.checksum_flag: 1})


PACKERS = {"gzip": gzip.compress, "zstd": zstd}
every_coding = pytest.mark.parametrize("coding", PACKERS)


@every_coding
@given(st.binary(max_size=2_000))
def test_what_was_compressed_comes_back(coding, data):
    assert decompress(PACKERS[coding](data), coding, MOST) == data


@every_coding
def test_a_body_may_have_exactly_its_limit(coding):
    assert len(decompress(PACKERS[coding](b"x" * MOST), coding, MOST)) == MOST
    with pytest.raises(ApiError, match=f"max_body_bytes of this server is {MOST}") as refused:
        decompress(PACKERS[coding](b"x" * (MOST + 1)), coding, MOST)
    assert refused.value.status == 413


@every_coding
def test_a_bomb_is_never_unpacked(coding):
    bomb = PACKERS[coding](bytes(20_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as refused:
            decompress(bomb, coding, MOST)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.status == 413
    assert peak < 10 * MOST


@every_coding
@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: b"",
        lambda packed: packed[:-1],
        lambda packed: packed + b"more",
        lambda packed: packed + packed,
        lambda packed: b"x" + packed,
        lambda packed: packed[:10] + bytes([packed[10] ^ 255]) + packed[11:],
    ],
)
def test_what_is_not_one_whole_stream_is_refused(coding, damage):
    packed = PACKERS[coding](b"some words, and more words")
    with pytest.raises(ApiError) as refused:
        decompress(damage(packed), coding, MOST)
    assert (refused.value.status, refused.value.code) == (400, "bad_encoding")


def test_other_formats_of_zlib_are_not_gzip():
    with pytest.raises(ApiError, match="gzip"):
        decompress(zlib.compress(b"words"), "gzip", MOST)


def test_gzip_is_always_there():
    assert "gzip" in DECOMPRESSORS
    assert ("zstd" in DECOMPRESSORS) == (compression._ZSTD is not None)
