"""Figures inside the page: the stages' PNG files, made small enough that all of them fit in one file."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WIDEST = 1400  # pixels; a screen shows no more of a figure
COLOURS = 256  # a figure's palette: its most frequent colours, exactly, so that keys stay true


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
    """The picture with a palette of its most frequent colours; the others go to one nearby.

    Pillow finds that one roughly, also for a colour that is in the palette, which is put right
    here.
    """
    from PIL import Image

    counted = picture.getcolors(picture.width * picture.height)
    frequent = [colour for _, colour in sorted(counted, reverse=True)[:COLOURS]]
    palette = Image.new("P", (1, 1))
    padded = frequent + frequent[:1] * (COLOURS - len(frequent))
    palette.putpalette([channel for colour in padded for channel in colour])
    rough = np.asarray(picture.quantize(palette=palette, dither=Image.Dither.NONE))
    codes = np.asarray(picture).astype(np.int64) @ (65536, 256, 1)
    known = np.array(frequent) @ (65536, 256, 1)
    order = np.argsort(known)
    place = order[np.searchsorted(known[order], codes).clip(max=len(known) - 1)]
    exact = np.where(known[place] == codes, place, rough).astype(np.uint8)
    few = Image.fromarray(exact, "P")
    few.putpalette(palette.getpalette())
    return few
