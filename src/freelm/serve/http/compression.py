"""Compressed bodies: unpacked no further than a body may be large.

gzip is always understood, zstd (which typesafe-sdk sends where it can) wherever Python has it: from
3.14 on by itself, if it was built so, before by the package `backports.zstd` of the extra `serve`.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from freelm.serve.http.errors import bad_request, body_too_large

ZSTD_WINDOW_LOG = 23
"""Senders over HTTP keep to windows of 8 MiB (RFC 9659); memory for larger ones is not taken."""


def _find_zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    return None


_ZSTD = _find_zstd()


def _gzip(body: bytes, most: int) -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _zstd(body: bytes, most: int) -> Any:
    # A frame may say its size, and then a window of that size; say 413 of it, not 400.
    declared = _ZSTD.get_frame_info(body).decompressed_size
    if declared is not None and declared > most:
        raise body_too_large(most)
    return _ZSTD.ZstdDecompressor(
        options={_ZSTD.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    )


UNPACKERS: dict[str, Callable[[bytes, int], Any]] = {"gzip": _gzip}
"""Content coding -> what makes a decompressor for a body and its largest size."""

_FAULTS: tuple[type[Exception], ...] = (zlib.error,)

if _ZSTD is not None:
    UNPACKERS["zstd"] = _zstd
    _FAULTS += (_ZSTD.ZstdError,)


def unpack(body: bytes, coding: str, most: int) -> bytes:
    """A body as it was before it was compressed.

    Args:
        body: One compressed stream.
        coding: One of `UNPACKERS`.
        most: Bytes that it may have unpacked.

    Raises:
        ApiError: 413, if it has more; 400, if it is damaged or something stands behind it.
    """
    try:
        decompressor = UNPACKERS[coding](body, most)
        unpacked: bytes = decompressor.decompress(body, most + 1)
    except _FAULTS:
        raise _damaged(coding) from None
    if len(unpacked) > most:
        raise body_too_large(most)
    if not decompressor.eof or decompressor.unused_data:
        raise _damaged(coding)
    return unpacked


def _damaged(coding: str) -> Exception:
    return bad_request(f"the body is not one whole {coding} stream", "bad_encoding")
