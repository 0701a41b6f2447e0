"""The runs of one or many stores as rows, and rows that differ by their seed alone as groups with an interval."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.check import EVERYTHING
from tlresearch.config.errors import ConfigError, Problem, nearest
from tlresearch.core.metrics import falls
from tlresearch.results import store
from tlresearch.results.identity import IRRELEVANT
from tlresearch.results.runs import HEADLINE, Run, look_up

SEEDS = ("seed", "dataset.sample_seed")
"""Runs of one group differ in these."""


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
        "fingerprint": {"data": look_up(run.record, "data.fingerprint"), "weights": run.record.get("weights")},
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
        by_key.setdefault(json.dumps([shared(r), r["status"] == "done"]), []).append(r)
    check_metric("metric", metric, found)
    return [group(members, metric) for members in by_key.values()]


def check_metric(key: str, metric: str, found: Sequence[dict[str, Any]]) -> None:
    """Raises ConfigError where there are metrics and none is the one asked for."""
    known = {name for r in found for name in metrics(r["metrics"])}
    if metric not in known and known:
        names = {name for name in known if not name.startswith("class.")}  # one a class would drown the others
        raise ConfigError(Problem(key, f"{metric!r}: no run has it; {nearest(metric, names)}"))


def group(members: list[dict[str, Any]], metric: str) -> Group:
    """Those runs as one group, with the mean of a metric over the ones that are done and have it."""
    values = [v for r in members if r["status"] == "done" and (v := metrics(r["metrics"]).get(metric)) is not None]
    mean = sum(values) / len(values) if values else None
    return Group(members, len(values), mean, interval(values))


def best_first(found: Sequence[Group], metric: str) -> list[Group]:
    """By their means; what is lowest first where lower is better, and last those without a number."""
    sign = 1 if falls(metric) else -1
    return sorted(found, key=lambda group: (group.mean is None, sign * (group.mean or 0.0)))


def interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean, t(n−1) · s / √n; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)


def shared(r: Mapping[str, Any], over: Collection[str] = ()) -> str:
    """What a run has in common with the others of its group, as text: equal texts, equal but for `over` and the seeds.

    over: dotted keys of the configuration. What does not change the numbers (devices, budget …) does not count. Data
    and weights count by their content, unless it is chosen among or another sample of rows is drawn for each seed.
    """
    settings = dict(_settings(r, over))
    parts = {key.partition(".")[0] for key in over}
    drawn = "dataset" in parts or settings.get("dataset.labels_per_class") is not None
    content = r.get("fingerprint", {})
    known = [None if drawn else content.get("data"), None if "backbone" in parts else content.get("weights")]
    order = [] if "method" in over else [name for name in r["config"].get("method", {}) if name != EVERYTHING]
    return json.dumps([sorted(settings.items()), order, known], default=str)


def _settings(r: Mapping[str, Any], over: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """Every setting that may change the numbers, by its dotted name, without the seeds and without `over`."""
    left_out = [*SEEDS, *IRRELEVANT, f"method.{EVERYTHING}", *over]
    for key, value in leaves(r.get("config", {})):
        if not any(f"{key}.".startswith(f"{name}.") for name in left_out):
            yield key, value


def metrics(nested: Mapping[str, Any]) -> dict[str, Any]:
    """A run's metrics by their dotted names; names of tasks and classes may hold dots themselves."""
    return dict(leaves(nested))


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Whatever is no mapping, or an empty one, by its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def titles(groups: Sequence[Group], *, heads: bool = False, over: Collection[str] = ()) -> list[str]:
    """What each group is called: its methods, and "scratch" where it lacks the pretrained weights that others have.

    Groups that would be called the same are told apart by the settings in which they differ, those of `over` aside.
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
    columns = ("dataset", "backbone", "model", "labels_per_class", *(() if heads else ("head", "weights")))
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, (group, name) in enumerate(zip(groups, found, strict=True)):
        alike.setdefault((name, *(str(group.first.get(column)) for column in columns)), []).append(i)
    for places in alike.values():
        for i, difference in zip(places, differences([groups[i].first for i in places], over), strict=True):
            found[i] = ", ".join([found[i], *difference])
    return found


def differences(found: Sequence[Mapping[str, Any]], over: Collection[str] = ()) -> list[list[str]]:
    """For each run the settings in which it differs from others of them, `over` and the seeds aside: "steps=100"."""
    settings = [dict(_settings(r, over)) for r in found]
    for values, r in zip(settings, found, strict=True):
        values |= {name: str(content)[:8] for name, content in r.get("fingerprint", {}).items()}
    texts = [{key: str(value) for key, value in values.items()} for values in settings]
    keys = dict.fromkeys(key for values in texts for key in values)
    varying = [key for key in keys if len({values.get(key) for values in texts}) > 1]
    told = [key for key in varying if key not in ("data", "weights")] or varying
    return [[f"{key}={values[key]}" for key in told if key in values] for values in texts]
