"""Pictures of one run: its confusions or errors, and its worst mistakes as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlresearch.nn.images import to_pil
from tlresearch.results.details import View, write_mistakes
from tlresearch.results.figures import COLOURS, figure, save
from tlresearch.results.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from tlresearch.core.types import Spec, Stream

SHOWN = 10
NUMBERED, NAMED, PICTURED = 20, 120, 1000
"""Up to so many classes have their counts written into the cells, have names, are drawn at all."""

CROWDED = 1000
"""Above so many points they are small and drawn as pixels."""

_FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)
"""Fonts with letters that matplotlib's own lacks; those that are installed are asked for them."""


def write(folder: Path, task: View, mistakes: Sequence[Any], stream: Stream | None, suffix: str) -> list[Path]:
    """Writes what the task's view draws, mistakes.png and .svg (images) and mistakes.jsonl into `folder`.

    suffix: ends the names, where a run has several tasks. Without a stream, an older list of mistakes stays.
    """
    files = task.draw(folder, suffix)
    listed = folder / f"mistakes{suffix}.jsonl"
    if stream is None and listed.exists():
        return files
    if stream is not None and mistakes and _is_drawable(stream.spec):
        files += draw_mistakes(mistakes[:SHOWN], folder / f"mistakes{suffix}")
    write_mistakes(mistakes, listed)
    return [*files, listed]


def _is_drawable(spec: Spec) -> bool:
    return spec.modality == "image" and (spec.input_shape is None or spec.input_shape[0] in (1, 3))


def draw_confusion(counts: Tensor, labels: Sequence[str], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg: rows true, columns predicted labels, coloured by the share of the row.

    counts: (C, C). The scale of colours is that of square roots, so that rare confusions show. Grey: no test rows.
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    c = len(labels)
    names = [one_line(label, 32) for label in labels] if c <= NAMED else []
    cell = 0.5 if c <= NUMBERED else max(0.17, 6 / c) if names else 9 / c  # inches
    side = max(cell * c, 2.5) + (0.09 if c <= NUMBERED else 0.07) * max(map(len, names), default=5)
    sheet = figure(side + 1.6, side + 0.8)
    axes = sheet.add_subplot()
    shares = counts.double() / counts.sum(1, keepdim=True)  # NaN for a class without rows
    colours = colormaps["Blues"].with_extremes(bad="0.85")
    image = axes.imshow(shares.numpy(), cmap=colours, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    if names:
        size, fonts = 9 if c <= NUMBERED else 7, _fonts()
        upright = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(range(c), names, rotation=upright)
        axes.set_yticks(range(c), names)
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set(fontsize=size, parse_math=False, family=fonts)
    if c <= NUMBERED:
        _write(axes, counts, shares)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    bar = sheet.colorbar(image, ax=axes, shrink=0.7, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.set_label("share of the true label's rows")
    return save(sheet, stem)


def _write(axes: Axes, counts: Tensor, shares: Tensor) -> None:
    for i, j in counts.nonzero().tolist():
        colour = "white" if shares[i, j] > 0.35 else "black"
        axes.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", color=colour, fontsize=8)


def draw_errors(true: Tensor, predicted: Tensor, name: str, stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg: a point a test row, the predicted number against the true one, and the diagonal."""
    sheet = figure(5, 5)
    axes = sheet.add_subplot()
    x, y = true.double().numpy(), predicted.double().numpy()
    ends = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot(ends, ends, color="0.5", linewidth=1, zorder=1)
    size, opacity, many = (8, 0.3, True) if len(true) > CROWDED else (18, 0.7, False)
    axes.scatter(x, y, size, COLOURS[0], alpha=opacity, linewidths=0, rasterized=many)
    axes.set_aspect("equal", "datalim")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.set_title(one_line(name, 60), parse_math=False, family=_fonts())
    axes.grid(alpha=0.3)
    return save(sheet, stem)


def draw_mistakes(mistakes: Sequence[Any], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg: the images of up to ten mistakes, each with its true and predicted answer."""
    columns = min(len(mistakes), 5)
    lines = -(-len(mistakes) // 5)
    sheet, fonts = figure(2.2 * columns, 2.7 * lines), _fonts()
    for axes, mistake in zip(sheet.subplots(lines, columns, squeeze=False).flat, mistakes, strict=False):
        picture = to_pil(mistake.input, 3)
        picture.thumbnail((240, 240))
        axes.imshow(picture, interpolation="nearest" if max(picture.size) < 64 else "antialiased")
        axes.set_title(mistake.caption, fontsize=9, parse_math=False, family=fonts)
    for axes in sheet.axes:
        axes.set(xticks=[], yticks=[], frame_on=False)
    return save(sheet, stem)


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
