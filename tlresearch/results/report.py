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
from tlresearch.results.runs import HEADLINE, Current, Run, look_up, sound
from tlresearch.results.statistics import half_width

SEEDS = ("seed", "dataset.sample_seed")
"""Runs of one group differ in these."""


def rows(stores: Iterable[Path]) -> list[dict[str, Any]]:
    """One JSON object a run, failed and interrupted ones included; `value` is null where there is no number.

    What cannot be read (cut short, written by a newer tlresearch) is a row too, with the reason as its error.
    """
    found, current = [], Current()
    for place in stores:
        if not place.is_dir():
            raise ConfigError(
                Problem("store", f"{str(place)!r}: no such folder; `tlresearch train store={place}` makes it")
            )
        for folder in store.folders(place):
            try:
                record = store.read_record(folder)
            except ConfigError as error:
                record = {"status": "unreadable", "error": error.problems[0].message}
            if record is not None:
                found.append(row(Run(folder, sound(folder, record)), current))
    return found


def row(run: Run, current: Current | None = None) -> dict[str, Any]:
    """What `report --format json` prints of a run. current: remembers the hashes of today's code from row to row."""
    config, value = run.config, run.value
    return {
        "identity": run.identity,
        "folder": str(run.folder),
        "status": run.status,
        "stale": (current or Current()).stale(run.record),
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

    @property
    def training_seconds(self) -> float | None:
        """The mean of `training_seconds` over the group's runs."""
        values = [seconds for r in self.rows if (seconds := training_seconds(r["cost"])) is not None]
        return sum(values) / len(values) if values else None

    def cost(self, name: str) -> float | None:
        """The mean of one entry of the cost block over the group's runs."""
        values = [r["cost"][name] for r in self.rows if name in r["cost"]]
        return sum(values) / len(values) if values else None


def training_seconds(cost: Mapping[str, Any]) -> float | None:
    """What training took with all it needs: its steps, waiting for data, and computing features that it kept.

    None where the cost block has no seconds of steps. Features that other runs had computed are theirs.
    """
    parts = [cost.get(f"seconds_{phase}", 0.0) for phase in ("train", "wait", "features")]
    known = "seconds_train" in cost and all(isinstance(part, int | float) for part in parts)
    return float(sum(parts)) if known else None


def groups(found: Sequence[dict[str, Any]], metric: str = HEADLINE) -> list[Group]:
    """Groups of runs, in order of their first run; raises where no run that is done has the metric."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for r in found:
        by_key.setdefault(json.dumps([shared(r), r["status"] == "done"]), []).append(r)
    check_metric("metric", metric, found)
    return [group(members, metric) for members in by_key.values()]


def check_metric(key: str, metric: str, found: Sequence[dict[str, Any]]) -> None:
    """Raises ConfigError where there are metrics and none is the one asked for."""
    if any(metric_of(r["metrics"], metric) is not None for r in found):
        return
    known = {name for r in found for name in metrics(r["metrics"])}
    if known:
        names = {name for name in known if not name.startswith("class.")}  # one a class would drown the others
        raise ConfigError(Problem(key, f"{metric!r}: no run has it; {nearest(metric, names)}"))


def group(members: list[dict[str, Any]], metric: str) -> Group:
    """Those runs as one group, with the mean of a metric over the ones that are done and have it."""
    values = [value for r in members if (value := number(r, metric)) is not None]
    mean = sum(values) / len(values) if values else None
    return Group(members, len(values), mean, interval(values))


def number(r: Mapping[str, Any], metric: str) -> float | None:
    """A metric of a run by its dotted name; None where it is not done, lacks it, or has no finite number there."""
    if r["status"] != "done":
        return None
    value = metric_of(r["metrics"], metric)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def metric_of(nested: Mapping[str, Any], name: str) -> Any:
    """A metric by its dotted name, of which names of tasks and classes may hold dots themselves; None without it."""
    if name in nested:
        return None if isinstance(nested[name], Mapping) else nested[name]
    for key, inner in nested.items():
        if isinstance(inner, Mapping) and name.startswith(f"{key}."):
            value = metric_of(inner, name[len(key) + 1 :])
            if value is not None:
                return value
    return None


def best_first(found: Sequence[Group], metric: str) -> list[Group]:
    """By their means; what is lowest first where lower is better, and last those without a number."""
    sign = 1 if falls(metric) else -1
    return sorted(found, key=lambda group: (group.mean is None, sign * (group.mean or 0.0)))


def interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean, t(n−1) · s / √n; None for fewer than two values."""
    return half_width(values)


def shared(r: Mapping[str, Any], over: Collection[str] = ()) -> str:
    """What a run has in common with the others of its group, as text: equal texts, equal but for `over` and the seeds.

    over: dotted keys of the configuration. What does not change the numbers (devices, budget …) does not count. Data
    and weights count by their content, unless it is chosen among or another sample of rows is drawn for each seed.
    """
    found = dict(settings(r, over))
    parts = {key.partition(".")[0] for key in over}
    drawn = "dataset" in parts or found.get("dataset.labels_per_class") is not None
    content = r.get("fingerprint", {})
    known = [None if drawn else content.get("data"), None if "backbone" in parts else content.get("weights")]
    order = [] if "method" in over else [name for name in r["config"].get("method", {}) if name != EVERYTHING]
    return json.dumps([sorted(found.items()), order, known], default=str)


def alike(found: Iterable[dict[str, Any]], over: Collection[str] = ()) -> list[list[dict[str, Any]]]:
    """The runs that are equal but for `over` and the seeds, as `shared` says, in order of the first run of each."""
    members: dict[str, list[dict[str, Any]]] = {}
    known: dict[str, str] = {}  # thousands of runs differ in their seeds alone, and one tells what all of them share
    for r in found:
        config, dataset = r["config"], r["config"].get("dataset")
        drawn = {"dataset": {**dataset, "sample_seed": None}} if isinstance(dataset, dict) else {}
        text = json.dumps([{**config, "seed": None, **drawn}, r["fingerprint"]], default=str)
        members.setdefault(known.get(text) or known.setdefault(text, shared(r, over)), []).append(r)
    return list(members.values())


def settings(r: Mapping[str, Any], over: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """Every setting that may change the numbers, by its dotted name, without the seeds and without `over`."""
    left_out = [*SEEDS, f"method.{EVERYTHING}", *over]
    whole = tuple(f"{name}." for name in left_out)
    config = {key: value for key, value in r.get("config", {}).items() if key not in IRRELEVANT}
    for key, value in leaves(config):
        if key not in left_out and not key.startswith(whole):
            yield key, value


def metrics(nested: Mapping[str, Any]) -> dict[str, Any]:
    """A run's metrics by their dotted names; names of tasks and classes may hold dots themselves."""
    return dict(leaves(nested))


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Whatever is no dictionary, or an empty one, by its dotted name."""
    for name, value in values.items():
        if value and isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def titles(
    groups: Sequence[Group], *, heads: bool = False, over: Collection[str] = (), pretrained: bool | None = None
) -> list[str]:
    """What each group is called: its methods, and "scratch" where it lacks the pretrained weights that others have.

    Groups that would be called the same are told apart by the settings in which they differ, those of `over` aside.
    heads: adds the head where it is not the one that most groups have. pretrained: whether there are such others; null:
    as these groups say.
    """
    usual = Counter(group.first["head"] for group in groups).most_common(1)
    pretrained = has_pretrained(group.first for group in groups) if pretrained is None else pretrained
    found = []
    for group in groups:
        row, name = group.first, method_name(group.first, pretrained)
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


def has_pretrained(found: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a run among them began with pretrained weights; only then is another one "scratch"."""
    return any(r["weights"] not in (None, "none") for r in found)


def method_name(r: Mapping[str, Any], pretrained: bool) -> str:
    """What a run did: its predictor, or its methods, with "scratch" in front where others have pretrained weights."""
    parts = [name for name in r["method"] if name != EVERYTHING]
    if pretrained and r["weights"] == "none" and not look_up(r, "config.init_from"):
        parts.insert(0, "scratch")
    return r["predictor"] or "+".join(parts) or EVERYTHING


def differences(found: Sequence[Mapping[str, Any]], over: Collection[str] = ()) -> list[list[str]]:
    """For each run the settings in which it differs from others of them, `over` and the seeds aside: "steps=100"."""
    all_settings = [dict(settings(r, over)) for r in found]
    for values, r in zip(all_settings, found, strict=True):
        values |= {name: str(content)[:8] for name, content in r.get("fingerprint", {}).items()}
    texts = [{key: str(value) for key, value in values.items()} for values in all_settings]
    keys = dict.fromkeys(key for values in texts for key in values)
    varying = [key for key in keys if len({values.get(key) for values in texts}) > 1]
    told = [key for key in varying if key not in ("data", "weights")] or varying
    return [[f"{key}={values[key]}" for key in told if key in values] for values in texts]
