"""How long runs may take, by those of their store that are like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.errors import ConfigError
from tlresearch.results import store
from tlresearch.results.runs import look_up

_BACKBONE = ("backbone.name", "backbone.model")
_DATA = ("dataset.name", "dataset.labels_per_class")
_LENGTH = ("epochs", "steps", "batch_size", "evaluate_every", "precision")
LIKENESS = (
    (*_BACKBONE, "method", "head.name", *_DATA, *_LENGTH),
    (*_BACKBONE, "method", "head.name", "dataset.name"),
    (*_BACKBONE, "method", "dataset.name"),
    (*_BACKBONE, "dataset.name"),
    _BACKBONE,
)
"""What like runs share, the most alike first. Of the methods their names count, in their order."""


class Estimate(NamedTuple):
    """seconds: of all runs that have a like one, one after the other; by: how many like runs; unknown: runs without."""

    seconds: float
    by: int
    unknown: int


def estimate(configs: Sequence[Mapping[str, Any]]) -> Estimate:
    """The sum over resolved configurations of the mean duration of the runs of their store that are most like each."""
    known: dict[str, list[tuple[Path, Mapping[str, Any], float]]] = {}
    seconds, used, unknown = 0.0, set(), 0
    for config in configs:
        place = str(config["store"])
        if place not in known:
            known[place] = _durations(Path(place))
        like = _like(config, known[place])
        if like:
            seconds += sum(took for _, _, took in like) / len(like)
            used |= {folder for folder, _, _ in like}
        else:
            unknown += 1
    return Estimate(seconds, len(used), unknown)


def _like(
    config: Mapping[str, Any], known: Sequence[tuple[Path, Mapping[str, Any], float]]
) -> list[tuple[Path, Mapping[str, Any], float]]:
    for keys in LIKENESS:
        wanted = _values(config, keys)
        found = [run for run in known if _values(run[1], keys) == wanted]
        if found:
            return found
    return []


def _values(config: Mapping[str, Any], keys: Sequence[str]) -> list[Any]:
    return [list(look_up(config, key) or ()) if key == "method" else look_up(config, key) for key in keys]


def _durations(place: Path) -> list[tuple[Path, Mapping[str, Any], float]]:
    """Folder, configuration and seconds of each run that is done; of a resumed one, its parts before it too."""
    found = []
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        try:
            record = store.read_record(folder) if folder.is_dir() else None
        except ConfigError:  # of a newer tlresearch: nothing can be said of it
            continue
        if record is not None and record["status"] == "done":
            cost = record["cost"]
            seconds = [cost[key] for key in ("seconds_total", "seconds_train") if key in cost]
            if seconds:
                found.append((folder, record["config"], max(seconds)))
    return found
