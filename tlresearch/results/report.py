"""The runs of one or many stores as rows, and rows that differ by their seed alone as groups with an interval."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.errors import ConfigError, Problem, nearest
from tlresearch.core.metrics import falls
from tlresearch.results import store
from tlresearch.results.runs import HEADLINE, Run, look_up

SEEDS = ("seed", "sample_seed")


def rows(stores: Iterable[Path]) -> list[dict[str, Any]]:
    """One JSON object a run, failed and interrupted ones included; `value` is null where there is no number."""
    found = []
    for place in stores:
        if not place.is_dir():
            raise ConfigError(
                Problem("store", f"{str(place)!r}: no such folder; `tlresearch train store={place}` makes it")
            )
        found += [row(Run(folder, record)) for folder, record in store.records(place)]
    return found


def row(run: Run) -> dict[str, Any]:
    """What `report --format json` prints of a run."""
    config, value = run.config, run.value
    return {
        "identity": run.identity,
        "folder": str(run.folder),
        "status": run.status,
        "stale": run.stale,
        "backbone": look_up(config, "backbone.name"),
        "model": look_up(config, "backbone.model"),
        "weights": look_up(config, "backbone.weights"),
        "head": look_up(config, "head.name"),
        "method": list(config.get("method", {})),
        "predictor": look_up(config, "predictor.name"),
        "dataset": look_up(config, "dataset.name"),
        "labels_per_class": look_up(config, "dataset.labels_per_class"),
        "seed": config.get("seed"),
        "metric": run.metric,
        "value": None if math.isnan(value) else value,
        "selection": run.record.get("selection"),
        "metrics": run.metrics,
        "cost": run.cost,
        "overrides": run.record.get("overrides", []),
        "config": config,
        "error": run.record.get("error"),
    }


class Group(NamedTuple):
    """Runs that differ by their seed alone. half: half the 95 % interval (Student's t), None for one run."""

    rows: list[dict[str, Any]]
    n: int
    mean: float | None
    half: float | None

    @property
    def first(self) -> dict[str, Any]:
        """The group's first run, which stands for what all of them share."""
        return self.rows[0]

    def cost(self, name: str) -> float | None:
        """The mean of one entry of the cost block over the group's runs."""
        values = [r["cost"][name] for r in self.rows if name in r["cost"]]
        return sum(values) / len(values) if values else None


def groups(found: Sequence[dict[str, Any]], metric: str = HEADLINE) -> list[Group]:
    """Groups of runs, in order of their first run; raises where no run that is done has the metric."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for r in found:
        by_key.setdefault(_key(r), []).append(r)
    known = {name for r in found for name in _names(r["metrics"])}
    if metric not in known and known:
        names = {name for name in known if not name.startswith("class.")}  # one a class would drown the others
        raise ConfigError(Problem("metric", f"{metric!r}: no run has it; {nearest(metric, names)}"))
    return [_group(members, metric) for members in by_key.values()]


def _group(members: list[dict[str, Any]], metric: str) -> Group:
    values = [v for r in members if r["status"] == "done" and (v := look_up(r["metrics"], metric)) is not None]
    mean = sum(values) / len(values) if values else None
    return Group(members, len(values), mean, interval(values))


def best_first(found: Sequence[Group], metric: str) -> list[Group]:
    """By their means; what is lowest first where lower is better."""
    sign = 1 if falls(metric) else -1
    return sorted(found, key=lambda group: sign * (group.mean or 0.0))


def interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean, t(n−1) · s / √n; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)


def _key(r: dict[str, Any]) -> str:
    config = {k: v for k, v in r["config"].items() if k not in (*SEEDS, "store", "tracker")}
    if "dataset" in config:
        config["dataset"] = {k: v for k, v in config["dataset"].items() if k not in SEEDS}
    return json.dumps([config, r["status"] == "done"], sort_keys=True)


def _names(metrics: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def titles(groups: Sequence[Group], *, heads: bool = False) -> list[str]:
    """What each group is called: its methods, and "scratch" where it lacks the pretrained weights that others have.

    heads: adds the head where it is not the one that most groups have.
    """
    usual = Counter(group.first["head"] for group in groups).most_common(1)
    pretrained = any(group.first["weights"] not in (None, "none") for group in groups)
    found = []
    for group in groups:
        row = group.first
        parts = [name for name in row["method"] if name != "finetune"]
        if pretrained and row["weights"] == "none":
            parts.insert(0, "scratch")
        name = row["predictor"] or "+".join(parts) or "finetune"
        rare = heads and row["head"] != usual[0][0] and not row["predictor"]
        found.append(f"{name}, {row['head']}" if rare else name)
    return found
