"""The picture of `report --roi`: a metric against labels, and against what it costs, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlresearch.results.figures import COLOURS, MARKERS, figure, save


def draw(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg: a row a setting. Grey line: the front; hollow: does not fit the limits."""
    settings = result["settings"]
    names = sorted({point["arm"] for found in settings for point in found["points"]})
    sheet = figure(10, 3.8 * len(settings))
    panels = sheet.subplots(len(settings), 2, squeeze=False)
    for (left, right), found in zip(panels, settings, strict=True):
        arms: dict[str, list[dict[str, Any]]] = {}
        for point in found["points"]:
            arms.setdefault(point["arm"], []).append(point)
        for name, points in sorted(arms.items()):
            i = names.index(name)  # the same colour in every row
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "capsize": 3}
            half = [p["half"] or 0.0 for p in points]
            values = [p["value"] for p in points]
            left.errorbar([max(p["labels"], 0.5) for p in points], values, half, label=name, linewidth=1.5, **style)
            for p in points:
                if p[found["cost"]] is not None:
                    fill = "none" if p["unfit"] else style["color"]
                    right.errorbar(p[found["cost"]], p["value"], p["half"], markerfacecolor=fill, **style)
                    place = (p[found["cost"]], p["value"])
                    right.annotate(f"{p['labels']:g}", place, (5, 4), textcoords="offset points", fontsize="x-small")
        front = sorted((p[found["cost"]], p["value"]) for p in found["points"] if p["front"])
        right.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0)
        for axes, what in ((left, "labels"), (right, f"{_UNITS[found['cost']]} (numbers: labels; grey: Pareto front)")):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
            axes.set_xlabel(what)
            axes.grid(alpha=0.3)
        ticks = sorted({max(point["labels"], 0.5) for point in found["points"]})
        left.set_xticks(ticks, [f"{n:g}" for n in ticks])
        left.set_ylabel(result["metric"])
        left.set_title(found["name"], loc="left", fontsize="medium", parse_math=False)
        handles, labels = left.get_legend_handles_labels()
        right.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return save(sheet, stem)


_UNITS = {"usd": "$ of all that has a price", "seconds": "seconds of a run"}
