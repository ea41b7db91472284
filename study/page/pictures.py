"""Figures inside the page: the stages' PNG files, small enough that all fit in one file."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eap import style

WIDEST = 1400  # pixels; a screen shows no more of a figure
COLOURS = 256  # in a figure's palette
FREQUENT = 64  # of them as they are


@dataclass(frozen=True)
class Picture:
    """A figure: its file name, its address inside the page, what to look for, its pixels."""

    name: str
    address: str
    caption: str
    width: int
    height: int


def read(path, caption: str) -> Picture:
    """A PNG inside the page: as it is, or with fewer pixels and colours where that is smaller.

    A file that is no readable picture stays as it is: the browser says so.
    """
    raw = Path(path).read_bytes()
    best = smaller(raw)
    address = "data:image/png;base64," + base64.b64encode(best).decode("ascii")
    width = int.from_bytes(best[16:20], "big")  # where a PNG has them
    height = int.from_bytes(best[20:24], "big")
    return Picture(Path(path).name, address, caption, max(width, 1), max(height, 1))


def smaller(raw: bytes) -> bytes:
    """A PNG with fewer pixels and colours, or as it is where that is no smaller or no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw)) as picture:
            flat = Image.new("RGB", picture.size, "white")
            flat.paste(picture.convert("RGBA"), mask=picture.convert("RGBA").getchannel("A"))
    except (UnidentifiedImageError, OSError, ValueError):
        return raw
    if flat.width > WIDEST:
        height = max(1, round(flat.height * WIDEST / flat.width))
        flat = flat.resize((WIDEST, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    _with_few_colours(flat).save(written, "PNG", optimize=True)
    return min(written.getvalue(), raw, key=len)


def _with_few_colours(picture):
    """The picture with a palette: the figures' own colours, its most frequent ones, and others
    spread over all that occur, however rare, so that a thin line keeps its colour. Each pixel takes
    the nearest.
    """
    from matplotlib.colors import to_rgb
    from PIL import Image

    codes = np.asarray(picture).astype(np.int64) @ (65536, 256, 1)
    distinct, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1)
    order = np.argsort(-counts, kind="stable")
    keyed = np.round(255 * np.array([to_rgb(colour) for colour in style.COLOURS.values()]))
    palette = np.concatenate([keyed.astype(np.int64), colours[order[:FREQUENT]]])
    rare = colours[order[FREQUENT:]]
    if len(rare):
        once = Image.fromarray(rare[None].astype(np.uint8))
        spread = once.quantize(COLOURS - len(palette), dither=Image.Dither.NONE).getpalette()
        palette = np.concatenate([palette, np.array(spread).reshape(-1, 3)])
    nearest = np.concatenate([_nearest(part, palette) for part in _parts(colours)])
    few = Image.fromarray(nearest[where].reshape(codes.shape).astype(np.uint8), "P")
    few.putpalette(palette.flatten().tolist())
    return few


def _parts(colours: np.ndarray, size: int = 4096) -> list[np.ndarray]:
    return [colours[start : start + size] for start in range(0, len(colours), size)]


def _nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(colours,) the entry of the palette with the least squared distance."""
    return ((colours[:, None] - palette) ** 2).sum(-1).argmin(1)
