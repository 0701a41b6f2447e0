"""One picture of a store: what the metric comes to with more labels, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlresearch.config.errors import ConfigError
from tlresearch.results.figures import COLOURS, MARKERS, figure, save
from tlresearch.results.report import Group, best_first, titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Mapping[str, Sequence[Group]]


def draw(groups: Sequence[Group], metric: str, stem: Path, over: Collection[str] = ()) -> list[Path]:
    """Writes stem.png and stem.svg: a row a data set, the metric against labels a class and seconds of training.

    Bars are 95 % intervals over seeds; a group of one run has none. over: settings that were chosen for each group.
    Raises ConfigError where no run is done.
    """
    done = [group for group in groups if group.mean is not None]
    if not done:
        raise ConfigError("no run that is done, so nothing to draw; `tlresearch train` makes one")
    names = titles(done, heads=True, over=over)
    settings = dict.fromkeys(_setting(group) for group in done)
    sheet = figure(10, 3.8 * len(settings))
    panels = sheet.subplots(len(settings), 2, squeeze=False)
    for (left, right), setting in zip(panels, settings, strict=True):
        lines: dict[str, list[Group]] = {}
        for group, name in zip(done, names, strict=True):
            if _setting(group) == setting:
                lines.setdefault(name, []).append(group)
        places = {id(group): place for place, group in enumerate(best_first(done, metric))}
        ordered = dict(sorted(lines.items(), key=lambda line: min(places[id(group)] for group in line[1])))
        _against_labels(left, ordered, metric)
        _against_cost(right, ordered, metric)
        left.set_title(" · ".join(setting), loc="left", fontsize="medium", parse_math=False)
        handles, labels = left.get_legend_handles_labels()
        right.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return save(sheet, stem)


def _setting(group: Group) -> tuple[str, ...]:
    row = group.first
    return (row["dataset"], row["backbone"] if row["model"] is None else row["model"].rpartition(":")[2])


def _against_labels(axes: Axes, lines: Lines, metric: str) -> None:
    places = _places([group.first["labels_per_class"] for groups in lines.values() for group in groups])
    for i, (name, groups) in enumerate(lines.items()):
        points = sorted((places[g.first["labels_per_class"]], g.mean, _half(g)) for g in groups)
        x, y, half = zip(*points, strict=True)
        axes.errorbar(x, y, half, label=name, **_style(i), linewidth=1.5)
    axes.set_xticks(list(places.values()), ["all" if n is None else str(n) for n in places])
    axes.set_xlabel("labels a class")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)


def _places(labels: Sequence[int | None]) -> dict[int | None, float]:
    """Number of labels → place on a logarithmic axis; 0 stands left of the fewest, "all" (None) right of the most."""
    counts = sorted({n for n in labels if n})
    places: dict[int | None, float] = {}
    if 0 in labels:
        places[0] = math.log2(min(counts, default=2)) - 1.5
    places |= {n: math.log2(n) for n in counts}
    if None in labels:
        places[None] = max(places.values(), default=0.0) + 1.5
    return places


def _against_cost(axes: Axes, lines: Lines, metric: str) -> None:
    for i, groups in enumerate(lines.values()):
        for group in groups:
            seconds, mean = group.training_seconds, group.mean
            if seconds is None or mean is None:
                continue
            place = max(seconds, 0.01)  # the axis has no zero
            axes.errorbar(place, mean, _half(group), **_style(i))
            labels = group.first["labels_per_class"]
            note = "all" if labels is None else str(labels)
            axes.annotate(note, (place, mean), (5, 4), textcoords="offset points", fontsize="x-small")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds of training (numbers: labels a class)")
    axes.grid(alpha=0.3)


def _half(group: Group) -> float:
    return math.nan if group.half is None else group.half


def _style(line: int) -> dict[str, Any]:
    return {"color": COLOURS[line % len(COLOURS)], "marker": MARKERS[line % len(MARKERS)], "capsize": 3}
