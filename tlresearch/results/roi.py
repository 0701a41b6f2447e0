"""What transfer saves: the runs of a store over numbers of labels as labels, $ and limits, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.budget import hour_prices
from tlresearch.config.errors import ConfigError
from tlresearch.core.metrics import falls
from tlresearch.results import returns
from tlresearch.results.report import Group, group, groups, metrics, titles
from tlresearch.results.returns import Offer
from tlresearch.results.runs import Run, look_up

PRICES = ("usd_per_gpu_hour", "usd_per_cpu_hour", "usd_per_label", "usd_per_engineer_day")


class Terms(NamedTuple):
    """What is asked. prices: name of PRICES → $, before the runs'; days: arm → engineer's days; limits or None."""

    metric: str
    prices: Mapping[str, float] = {}
    days: Mapping[str, float] = {}
    max_seconds: float | None = None
    max_bytes: float | None = None


def analyse(found: Sequence[Mapping[str, Any]], terms: Terms) -> dict[str, Any]:
    """Everything `report --roi` shows, as plain JSON. found: `results.report.rows`.

    Raises ConfigError where no run that is done has the metric, or a name in `days` is no arm's.
    """
    done = [
        {**r, "labels": labels}
        for r in found
        if r["status"] == "done" and terms.metric in metrics(r["metrics"]) and (labels := _labels(r)) is not None
    ]
    if not done:
        raise ConfigError(f"no run that is done has {terms.metric!r}, so nothing can be weighed")
    rest = len(found) - len(done)
    notes = [f"{rest} run(s) left out: not done, without {terms.metric}, or silent on their rows"] if rest else []
    stale = sum(bool(r["stale"]) for r in done)
    notes += [f"{stale} run(s) made by other code than today's; rerun_stale=true runs them again"] if stale else []
    settings: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for r in done:
        settings.setdefault(_setting(r), []).append(r)
    parts = [_Setting(name, rows, terms) for name, rows in settings.items()]
    unknown = set(terms.days) - {arm for part in parts for arm in part.arms}
    if unknown:
        known = ", ".join(sorted({arm for part in parts for arm in part.arms}))
        raise ConfigError(f"--engineer-days: no arm is called {', '.join(sorted(unknown))}; there are {known}")
    better = "lower" if falls(terms.metric) else "higher"
    limits = {"seconds_per_prediction": terms.max_seconds, "bytes": terms.max_bytes}
    told = {"metric": terms.metric, "better": better, "limits": limits, "notes": notes}
    return {**told, "settings": [part.result() for part in parts]}


def _setting(r: Mapping[str, Any]) -> tuple[str, ...]:
    path = look_up(r["config"], "dataset.path")
    data = r["dataset"] if path is None else f"{r['dataset']} {path}"
    return (data, r["backbone"] if r["model"] is None else r["model"].rpartition(":")[2])


def _labels(r: Mapping[str, Any]) -> float | None:
    """Labelled rows that training had, over all stages; None where the record does not say."""
    if r["labels_per_class"] == 0:
        return 0.0
    stages = look_up(Run.load(r["folder"]).record, "data.stages")
    return None if stages is None else float(sum(s["train"] for s in stages))


def _steps(r: Mapping[str, Any]) -> int | None:
    """Optimizer steps of a run over all its stages; None where the record does not say."""
    stages = Run.load(r["folder"]).record.get("stages")
    return sum(stage["steps"] for stage in stages) if stages else None


class _Setting:
    """The runs over one data set and network."""

    def __init__(self, name: Sequence[str], rows: list[dict[str, Any]], terms: Terms) -> None:
        self.name, self.terms, self.sign = " · ".join(name), terms, -1.0 if falls(terms.metric) else 1.0
        self.prices = _prices(rows, terms)
        self.notes: list[str] = []
        found = [group(g.rows, terms.metric) for g in groups(rows, terms.metric)]
        self.arms: dict[str, list[dict[str, Any]]] = {}
        for one, title in zip(found, titles(found, heads=True), strict=True):
            self.arms.setdefault(title, []).append(self._point(one, title))
        for points in self.arms.values():
            points.sort(key=lambda point: point["labels"])
        pretrained = any(g.first["weights"] not in (None, "none") for g in found)
        self.scratch = next((arm for arm in self.arms if pretrained and arm.startswith("scratch")), None)

    def _point(self, one: Group, arm: str) -> dict[str, Any]:
        values = {r["seed"]: float(metrics(r["metrics"])[self.terms.metric]) for r in one.rows}
        seconds, parameters = one.cost("seconds_total"), one.cost("parameters_total")
        days = self.terms.days.get(arm)
        engineer, hour = self.prices.get("usd_per_engineer_day"), self._hour(one)
        return {
            "arm": arm,
            "labels": one.first["labels"],
            "labels_per_class": one.first["labels_per_class"],
            "value": one.mean,
            "half": one.half,
            "n": one.n,
            "steps": _steps(one.first),
            "values": {str(seed): value for seed, value in values.items()},
            "seconds": seconds,
            "seconds_per_prediction": one.cost("seconds_per_prediction"),
            "bytes": None if parameters is None else 4 * parameters,
            "usd_compute": None if hour is None or seconds is None else seconds / 3600 * hour,
            "usd_engineering": None if days is None or engineer is None else days * engineer,
        }

    def _hour(self, one: Group) -> float | None:
        """$ of an hour on the device of the runs, all its GPUs together."""
        found = look_up(Run.load(one.first["folder"]).record, "hardware.device", {})
        (name,) = hour_prices(found.get("type", "cpu"))
        price = self.prices.get(name)
        return None if price is None else price * (1 if name == "usd_per_cpu_hour" else found.get("count", 1))

    def result(self) -> dict[str, Any]:
        """This setting's part of the JSON."""
        self._say_what_is_missing()
        points = [point for arm in self.arms.values() for point in arm]
        for point in points:
            point["usd"] = self._usd(point)
            point["unfit"] = self._unfit(point)
        cost = "seconds" if all(point["usd"] is None for point in points) else "usd"
        priced = [p for p in points if p[cost] is not None]
        front = [priced[i] for i in returns.pareto([(p[cost], self.sign * p["value"]) for p in priced])]
        for point in points:
            point["front"] = point in front
        marginal = [] if cost == "seconds" else [
            {"from": a["arm"], "to": b["arm"], "labels": [a["labels"], b["labels"]],
             "usd_per_point": returns.per_point((a["usd"], self.sign * a["value"]), (b["usd"], self.sign * b["value"]))}
            for a, b in pairwise(front)
        ]  # fmt: skip
        efficiency = self._efficiency()
        advised = self._advised(points, cost)
        found = {
            "name": self.name, "prices": self.prices, "cost": cost, "scratch": self.scratch, "flat": self._flat(),
            "points": points,
            "efficiency": efficiency, "marginal": marginal,
            "recommended": None if advised is None else {key: advised[key] for key in ("arm", "labels", "value", cost)},
            "unfit": [f"{p['arm']} with {p['labels']:g} labels: {p['unfit']}" for p in points if p["unfit"]],
            "notes": self.notes,
        }  # fmt: skip
        from tlresearch.results.roi_text import sentences

        return {**found, "sentences": sentences(found, self.terms.metric, self.sign)}

    def _usd(self, point: Mapping[str, Any]) -> float | None:
        """All that has a price; None where nothing has."""
        label = self.prices.get("usd_per_label")
        if label is None and point["usd_compute"] is None and point["usd_engineering"] is None:
            return None
        return _offer(point).total(label)

    def _unfit(self, point: Mapping[str, Any]) -> str:
        limits = (("seconds_per_prediction", self.terms.max_seconds, "s"), ("bytes", self.terms.max_bytes, "bytes"))
        reasons = []
        for key, limit, unit in limits:
            if limit is not None and point[key] is None:
                reasons.append(f"{key} was not measured")
            elif limit is not None and point[key] > limit:
                reasons.append(f"{point[key]:.3g} {unit}, above {limit:g}")
        return "; ".join(reasons)

    def _efficiency(self) -> list[dict[str, Any]]:
        curve = {p["labels"]: p for p in self.arms.get(self.scratch or "", []) if p["labels"] >= 1}
        if self.scratch is None:
            self.notes.append("no arm from scratch (preset=scratch) beside pretrained ones: no data-efficiency factor")
        if not curve:
            return []
        if len(curve) == 1:
            self.notes.append(f"{self.scratch} has one number of labels only: the factor is no more than a bound")
        reference = {n: {s: self.sign * v for s, v in p["values"].items()} for n, p in curve.items()}
        found = []
        for arm, points in self.arms.items():
            for p in points if arm != self.scratch else ():
                if p["labels"] < 1:
                    continue
                own = {seed: self.sign * v for seed, v in p["values"].items()}
                factor = returns.efficiency(reference, own, p["labels"])
                found.append({"arm": arm, "labels": p["labels"], "value": p["value"], **self._worth(curve, p, factor)})
        if any(entry["seeds"] < 2 for entry in found):
            self.notes.append("fewer than two seeds in common: no interval of the factor")
        return found

    def _flat(self) -> bool:
        """Whether scratch is no better with its most labels than with its fewest, by both 95 % intervals together."""
        points = self.arms.get(self.scratch or "", [])
        if len(points) < 2 or points[0]["half"] is None or points[-1]["half"] is None:
            return False
        gain = self.sign * (points[-1]["value"] - points[0]["value"])
        flat = bool(gain <= points[0]["half"] + points[-1]["half"])
        if flat:
            told = f"{points[0]['value']:.4f} with {points[0]['labels']:g} labels, {points[-1]['value']:.4f} with"
            self.notes.append(
                f"{self.scratch} does not improve with labels ({told} {points[-1]['labels']:g}): it was trained too "
                "shortly or labels are too few, and a bound on the factor says little"
            )
        return flat

    def _worth(self, curve: Mapping[float, Any], p: Mapping[str, Any], factor: returns.Factor) -> dict[str, Any]:
        """The factor as JSON and, where scratch gets there (or at its most labels, as a bound), what that saves."""
        needed = factor.needed
        costs = {n: c["usd_compute"] for n, c in curve.items()}
        compute = None if any(v is None for v in costs.values()) else returns.at(costs, needed.labels)
        there = Offer(needed.labels, p["value"], compute, next(iter(curve.values()))["usd_engineering"])
        worth = needed.side != "below"
        return {
            "needed": needed.labels, "side": needed.side, "factor": factor.value, "interval": factor.interval,
            "seeds": factor.seeds,
            "saved": returns.saved(there, _offer(p), self.prices.get("usd_per_label")) if worth else None,
            "break_even_usd_per_label": returns.break_even(there, _offer(p)) if worth else None,
        }  # fmt: skip

    def _advised(self, points: Sequence[dict[str, Any]], cost: str) -> dict[str, Any] | None:
        """Of what fits, the cheapest that the best one's 95 % interval covers; the best one where it has none."""
        fit = [p for p in points if not p["unfit"] and p[cost] is not None]
        if not fit:
            self.notes.append("nothing fits the limits: no recommendation")
            return None
        best = max(fit, key=lambda p: self.sign * p["value"])
        least = self.sign * best["value"] - (best["half"] or 0.0)
        return min((p for p in fit if self.sign * p["value"] >= least), key=lambda p: p[cost])

    def _say_what_is_missing(self) -> None:
        points = [point for arm in self.arms.values() for point in arm]
        gone = [n for n in ("usd_per_label", "usd_per_engineer_day") if n not in self.prices]
        gone += ["usd_per_cpu_hour or usd_per_gpu_hour"] if any(p["usd_compute"] is None for p in points) else []
        if gone:
            self.notes.append(f"left out of all $, for want of a price: {', '.join(gone)} (--price NAME=USD)")
        if "usd_per_engineer_day" in self.prices and any(p["usd_engineering"] is None for p in points):
            who = sorted({p["arm"] for p in points if p["usd_engineering"] is None})
            self.notes.append(f"engineering is left out for {', '.join(who)}: --engineer-days ARM=DAYS gives its days")
        if any(p["n"] < 2 for p in points):
            self.notes.append("one seed only in places: no interval is invented there")


def _offer(point: Mapping[str, Any]) -> Offer:
    return Offer(point["labels"], point["value"], point["usd_compute"], point["usd_engineering"])


def _prices(rows: Sequence[Mapping[str, Any]], terms: Terms) -> dict[str, float]:
    """Those asked for, else those that the runs agree on."""
    found = {}
    for name in PRICES:
        known = {look_up(r["config"], f"prices.{name}") for r in rows} - {None}
        if name not in terms.prices and len(known) > 1:
            listed = ", ".join(map(str, sorted(known)))
            raise ConfigError(f"prices.{name}: the runs have {listed}; choose by --price {name}=USD")
        given = terms.prices.get(name, next(iter(known), None))
        if given is not None:
            found[name] = float(given)
    return found


def by_default(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that are the runs' own."""
    return list(dict.fromkeys(r["metric"] for r in found if r["status"] == "done"))


def picture(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg."""
    from tlresearch.results.roi_picture import draw

    return draw(result, stem)
