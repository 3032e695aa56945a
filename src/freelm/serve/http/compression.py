"""Compressed request bodies, decompressed to at most the size that a body may have.

gzip is always supported. zstd, which typesafe-sdk sends where it can, needs Python 3.14 built with
it, or the package `backports.zstd` of the extra `serve`.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from freelm.serve.http.errors import ApiError, bad_request, body_too_large

ZSTD_WINDOW_LOG = 23
"""Windows of 8 MiB, the maximum for HTTP (RFC 9659); larger ones are refused."""


def _import_zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    return None


_ZSTD = _import_zstd()


def _gzip(body: bytes, maximum: int) -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _zstd(body: bytes, maximum: int) -> Any:
    # A frame may declare its size, and then needs a window of that size: answer 413, not 400.
    declared = _ZSTD.get_frame_info(body).decompressed_size
    if declared is not None and declared > maximum:
        raise body_too_large(maximum)
    return _ZSTD.ZstdDecompressor(
        options={_ZSTD.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    )


DECOMPRESSORS: dict[str, Callable[[bytes, int], Any]] = {"gzip": _gzip}
"""Content coding -> factory of a decompressor for a body and its maximum size."""

_ERRORS: tuple[type[Exception], ...] = (zlib.error,)

if _ZSTD is not None:
    DECOMPRESSORS["zstd"] = _zstd
    _ERRORS += (_ZSTD.ZstdError,)


def decompress(body: bytes, coding: str, maximum: int) -> bytes:
    """Decompress a body.

    Args:
        body: One compressed stream.
        coding: One of `DECOMPRESSORS`.
        maximum: Largest size in bytes after decompression.

    Raises:
        ApiError: 413 if the result is larger; 400 if the stream is damaged, incomplete or followed
            by other data.
    """
    try:
        decompressor = DECOMPRESSORS[coding](body, maximum)
        decompressed: bytes = decompressor.decompress(body, maximum + 1)
    except _ERRORS:
        raise _damaged(coding) from None
    if len(decompressed) > maximum:
        raise body_too_large(maximum)
    if not decompressor.eof or decompressor.unused_data:
        raise _damaged(coding)
    return decompressed


def _damaged(coding: str) -> ApiError:
    return bad_request(f"the body is not one complete {coding} stream", "bad_encoding")
