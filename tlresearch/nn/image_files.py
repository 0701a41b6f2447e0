"""Image files: which of them a folder holds, and how one becomes a plain picture, upright, in 8 bits, grey or RGB."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import jpeg_factory

_JPEG = frozenset({".jpg", ".jpeg", ".jfif", ".mpo"})
_PORTABLE = frozenset({".pbm", ".pgm", ".pnm", ".ppm"})
MODES = {1: "L", 3: "RGB"}  # number of channels → mode
ENDINGS = _JPEG | _PORTABLE | frozenset({".avif", ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"})
MOST_PIXELS = 80_000_000
MOST_STRETCH = 200  # networks want the shorter side at 200 … 500 pixels; a longer strip would not fit into memory then

_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's others run programs or are no photos
_TOO_LARGE = f"has more than {MOST_PIXELS:,} pixels; make it smaller or save it as a baseline JPEG"


class Found(NamedTuple):
    """The images below a folder, sorted, and what else is there: how often by ending or by reason ("hidden")."""

    images: list[Path]
    others: Counter[str]


class Inspection(NamedTuple):
    """What is wrong with an image file ("" for a sound one), and whether it holds frames or pages after its first."""

    flaw: str
    more_frames: bool


def hidden(path: Path) -> bool:
    """Whether a name begins with a dot, or is the folder that macOS adds to archives: nobody put it there for us."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def kind(path: Path) -> str:
    """How a file that is left out is counted: as hidden or by its ending, in lower case."""
    return "hidden" if hidden(path) else path.suffix.lower() or "without an ending"


def listed(others: Mapping[str, int]) -> str:
    """Counts as a sentence names them, the most frequent first: "12 .heic, 1 hidden"."""
    return ", ".join(f"{count} {what}" for what, count in sorted(others.items(), key=lambda item: (-item[1], item[0])))


def find(folder: Path) -> Found:
    """All files with one of `ENDINGS` below a folder, links followed, hidden ones left out.

    Raises OSError for a folder that cannot be read.
    """
    found = Found([], Counter())
    _walk(folder, frozenset(), found)
    return found


def _walk(folder: Path, above: frozenset[Path], found: Found) -> None:
    real = folder.resolve()
    if any(real == other or real in other.parents for other in above):  # it holds what it is linked from
        found.others["linked in a circle"] += 1
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not hidden(entry):
            _walk(entry, above | {real}, found)
        elif entry.suffix.lower() in ENDINGS and not hidden(entry):
            found.images.append(entry)
        else:
            found.others[kind(entry)] += 1


def read(file: Path, channels: int) -> Image.Image:
    """The first frame of an image file, whatever its ending, turned upright by its EXIF; as `plain` makes it.

    A baseline JPEG of more than MOST_PIXELS is decoded at a half, a quarter or an eighth of its size. Colour profiles
    are not applied. Raises ValueError with the reason for a file that cannot be read, for another of more than
    MOST_PIXELS, and for one with a side more than MOST_STRETCH times the other.
    """
    with _opened(file) as image:
        return plain(image, channels)


def inspect(file: Path) -> Inspection:
    """Reads a file to its end, at an eighth of its size where it is a JPEG: what `read` would raise is its flaw."""
    try:
        with _opened(file, smallest=True) as image:
            more = image.format != "MPO" and bool(getattr(image, "is_animated", False))  # MPO: previews, depth maps
            plain(image, 3)
            if image.format == "PNG":
                with Image.open(file) as again:
                    again.verify()  # its check sums, which decoding passes over
    except Exception as error:  # decoders raise what they like
        return Inspection(_reason(error), False)
    return Inspection("", more)


def plain(image: Image.Image, channels: int) -> Image.Image:
    """Any mode → 8 bits, grey (channels = 1) or RGB (3): transparency on white, 16 bits scaled by 1/257, CMYK to RGB.

    Raises ValueError for floats and 32-bit integers, whose range no file states.
    """
    mode = MODES[channels]
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode in ("F", "I"):
        numbers = {"F": "floats", "I": "32-bit integers"}[image.mode]
        raise ValueError(f"holds {numbers}, whose range is not stated; save it with 8 or 16 bits a pixel")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer)
    return image if image.mode == mode else image.convert(mode)


@contextmanager
def header(file: Path) -> Iterator[Image.Image]:
    """The image before anything is decoded, with size and mode; a JPEG of any size, though Pillow refuses large ones.

    Image.open would do so before a JPEG could be scaled down. Raises what Pillow raises.
    """
    with file.open("rb") as stream:
        jpeg = stream.peek(3)[:3] == b"\xff\xd8\xff"
        with jpeg_factory(stream) if jpeg else Image.open(stream, formats=_FORMATS) as image:
            yield image


@contextmanager
def _opened(file: Path, smallest: bool = False) -> Iterator[Image.Image]:
    """The image loaded and upright; a JPEG is scaled down while it is decoded, if it is large or `smallest` asks."""
    try:
        if not file.is_file():
            raise ValueError("is no file, or a link to none")
        if not file.stat().st_size:
            raise ValueError("is empty, 0 bytes")
        with header(file) as image:
            width, height = image.size
            if max(width, height) > MOST_STRETCH * min(width, height):
                raise ValueError(f"has {width} x {height} pixels, too long a strip; crop it to 1:{MOST_STRETCH}")
            scale = 2 ** max(0, math.ceil(math.log2(width * height / MOST_PIXELS) / 2))
            image.draft(None, (1, 1) if smallest else (width // scale, height // scale))
            decoded = (width, height) if "progressive" in image.info else image.size  # that kind is held whole
            if math.prod(decoded) > MOST_PIXELS:
                raise ValueError(_TOO_LARGE)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            yield image
    except Exception as error:  # decoders raise what they like
        raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content is no image of a format that is read; save it anew as JPEG or PNG"
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_LARGE
    if isinstance(error, PermissionError):
        return "permission denied"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
