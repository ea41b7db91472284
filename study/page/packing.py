"""Numbers of many edges inside a page: columns of bytes, compressed, in base64."""

import base64
import zlib

import numpy as np

# Bits of a float32 that are kept of its 23: an error of 6e-5 of the number, under what is shown.
KEPT_BITS = 13


def pack(column) -> str:
    """`u1:`, `u2:` or `f4:` and a column of numbers in base64.

    The first bytes of all numbers stand before the second bytes of all, and so on, little-endian,
    which zlib compresses better. Floats lose bits that no cell shows.
    """
    values = np.ascontiguousarray(column)
    if values.dtype.kind == "f":
        values = _rounded(values.astype("<f4"))
    kind = {"f": "f", "u": "u", "b": "u"}[values.dtype.kind]
    width = values.dtype.itemsize
    planes = values.astype(f"<{kind}{width}").view(np.uint8).reshape(-1, width).T
    return f"{kind}{width}:" + base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 with `KEPT_BITS` of mantissa, to nearest; NaN and infinity stay."""
    dropped = 23 - KEPT_BITS
    bits = values.view(np.uint32)
    nearest = (bits + np.uint32(1 << (dropped - 1))) & np.uint32(~((1 << dropped) - 1) & 0xFFFFFFFF)
    return np.where(np.isfinite(values), nearest, bits).astype(np.uint32).view(np.float32)
