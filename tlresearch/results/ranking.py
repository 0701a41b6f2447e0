"""The average rank of what is compared over several data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlresearch.core.metrics import falls
from tlresearch.results.keys import Row, about_labels, listed, named
from tlresearch.results.statistics import mean, mean_ranks

Settings = Mapping[str, Any]

DRAWN = ("dataset.sample_seed", "dataset.split_seed")
"""Which rows were drawn does not make another data set."""


def ranks(found: Sequence[tuple[str, Row, Settings, float]], metric: str, notes: list[str]) -> dict[str, Any] | None:
    """The blocks (data set and number of labels) and everybody's mean rank over them; None of fewer than two data sets.

    found: who, the run, its settings (`pairing.described`), its number. Only blocks that have everybody count; what is
    left out is added to the notes.
    """
    scores: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    names: dict[tuple[Any, ...], str] = {}
    everybody = dict.fromkeys(who for who, *_ in found)
    for who, r, settings, value in found:
        data = {k: v for k, v in settings.items() if k.startswith("dataset.") and k not in DRAWN}
        block = tuple(sorted((key, str(value)) for key, value in data.items()))
        scores.setdefault(block, {}).setdefault(who, []).append(value)
        names[block] = ", ".join([str(r["dataset"]), named("labels_per_class", r["labels_per_class"])])
    complete = [block for block, of in scores.items() if len(of) == len(everybody)]
    sets = {tuple(part for part in block if not about_labels(part[0])) for block in scores}
    if len(everybody) < 2 or len(sets) < 2:
        return None
    if len(complete) < len(scores):
        partial = [names[block] for block in scores if block not in complete]
        notes.append(f"average ranks leave out what not all have: {listed(partial)}")
    if not complete:
        return None
    means = [{who: mean(values) for who, values in scores[block].items()} for block in complete]
    found_ranks = mean_ranks(means, lower_is_better=falls(metric))
    return {"over": [names[block] for block in complete], "ranks": found_ranks}
