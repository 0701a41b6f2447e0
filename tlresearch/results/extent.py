"""How large the inputs are: lengths of texts, sizes of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tlresearch.core.rows import Rows

MOST_FILES, MOST_OTHERS = 1000, 100
"""So many images are looked at: of files, whose headers suffice, and of others, which may have to be decoded."""

_WORD_CHARACTERS = 15  # where words are longer in most texts, the script puts no spaces between them
_QUANTILES = {"minimum": 0.0, "median": 0.5, "percentile_95": 0.95, "maximum": 1.0}


class Size(NamedTuple):
    """Width and height in pixels, and whether it has no colours."""

    width: int
    height: int
    grey: bool


def lengths(texts: Sequence[str]) -> dict[str, Any]:
    """Quantiles (each the length of some text) in words, or in characters where words are not set apart.

    texts: with one space between words and none around them; at least one.
    """
    characters = np.array([len(text) for text in texts])
    words = np.array([text.count(" ") for text in texts]) + (characters > 0)
    if np.median(characters / words.clip(min=1)) > _WORD_CHARACTERS:
        return {"unit": "characters", **_quantiles(characters)}
    return {"unit": "words", **_quantiles(words)}


def image_sizes(parts: Sequence[Rows], shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Quantiles of width and height, and how many images are grey. `shape` (C, H, W) saves looking at them.

    sampled: how many images were looked at, drawn with a fixed seed; `of`: how many there are.
    """
    total = sum(map(len, parts))
    sizes = _sampled(parts) if shape is None else [Size(shape[2], shape[1], shape[0] == 1)]
    if not sizes:
        return {}
    return {
        "sampled": total if shape else len(sizes),
        "of": total,
        "width": _quantiles([size.width for size in sizes]),
        "height": _quantiles([size.height for size in sizes]),
        "grey": total * sizes[0].grey if shape else sum(size.grey for size in sizes),
    }


def _sampled(parts: Sequence[Rows]) -> list[Size]:
    from PIL import Image

    rows = [(part.inputs, position) for part in parts for position in part.positions.tolist()]
    most = MOST_FILES if isinstance(rows[0][0][rows[0][1]], Path) else MOST_OTHERS
    if len(rows) > most:
        rows = [rows[i] for i in np.random.default_rng(0).choice(len(rows), most, replace=False)]
    sizes = []
    for inputs, position in rows:
        try:
            sizes.append(size(inputs[position]))
        except (OSError, Image.DecompressionBombError):
            continue  # the backbone refuses it by name when it decodes it
    return sizes


def size(image: Any) -> Size:
    """Of a path (its header is read), PIL image, array (H, W), (H, W, C) or (C, H, W), or tensor (C, H, W), (H, W)."""
    from PIL import Image
    from torch import Tensor

    from tlresearch.nn.image_files import header

    if isinstance(image, Path):
        with header(image) as file:
            return Size(*file.size, _grey(file.mode))
    if isinstance(image, Image.Image):
        return Size(*image.size, _grey(image.mode))
    shape = tuple(image.shape)
    if len(shape) == 2:
        return Size(shape[1], shape[0], True)
    first = isinstance(image, Tensor) or shape[2] not in (1, 3)
    channels, height, width = shape if first else (shape[2], *shape[:2])
    return Size(width, height, channels == 1)


def _grey(mode: str) -> bool:
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")


def _quantiles(values: Sequence[int] | np.ndarray[Any, Any]) -> dict[str, int]:
    found = np.quantile(np.asarray(values), list(_QUANTILES.values()), method="inverted_cdf")
    return dict(zip(_QUANTILES, map(int, found), strict=True))
