"""Negative transfer: groups that do worse than the same run from scratch, or than the one that ignored the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlresearch.config.check import EVERYTHING
from tlresearch.core.metrics import falls
from tlresearch.results.keys import Row
from tlresearch.results.statistics import LEVEL, mean, paired

Unit = tuple[Any, ...]


class References:
    """Who is whose reference among runs. A reference has the same data, labels, seeds, budget and architecture.

    scratch: no pretrained weights, no method, no start from another run: for runs that begin with what others learned.
    source-only: no method, the same weights and head, in a run with a target domain: for runs whose method uses it.
    """

    def __init__(self, measured: Sequence[Row], described: Mapping[str, Mapping[str, Any]], metric: str) -> None:
        self._metric, self._settings = metric, described
        self._values: dict[Unit, list[float]] = {}
        self._numbers: dict[str, float] = {}
        for r in measured:
            self._numbers[r["identity"]] = value = r["number"]
            for unit in self._serves(r):
                self._values.setdefault(unit, []).append(value)

    def verdict(self, members: Sequence[Row]) -> str | None:
        """Worse than what, by how much and how sure, of runs of one group; None where it is not, or none can be found.

        The mean decides; p is that of the paired t-test, which few seeds hardly ever convince.
        """
        pairs: dict[str, dict[Unit, list[float]]] = {}
        for r in members:
            for unit in self._needs(r):
                if unit in self._values:
                    pairs.setdefault(unit[0], {}).setdefault(unit, []).append(self._numbers[r["identity"]])
        found = [self._compared(name, units) for name, units in pairs.items()]
        return "; ".join(text for text in found if text) or None

    def _compared(self, name: str, units: Mapping[Unit, Sequence[float]]) -> str:
        own = [mean(values) for values in units.values()]
        others = [mean(self._values[unit]) for unit in units]
        test = paired([a - b for a, b in zip(own, others, strict=True)])
        if not (test.difference > 0 if falls(self._metric) else test.difference < 0):
            return ""
        sure = "one pair, no test" if test.n == 1 else "no test"
        if test.p_t is not None:
            sure = f"p = {test.p_t:.2g}" + ("" if test.p_t < LEVEL else ", may be chance")
        return f"worse than {name} ({mean(own):.4f} against {mean(others):.4f}; n = {test.n}; {sure})"

    def _serves(self, r: Row) -> list[Unit]:
        if r["predictor"] or [name for name in r["method"] if name != EVERYTHING]:
            return []
        scratch = r["weights"] == "none" and not r["config"].get("init_from")
        return [*([self._unit("scratch", r)] if scratch else []), *([self._target(r)] if _has_target(r) else [])]

    def _needs(self, r: Row) -> list[Unit]:
        if r["predictor"]:
            return []
        transfers = r["weights"] not in (None, "none") or r["config"].get("init_from")
        adapts = _has_target(r) and [name for name in r["method"] if name != EVERYTHING]
        return [*([self._unit("scratch", r)] if transfers else []), *([self._target(r)] if adapts else [])]

    def _unit(self, name: str, r: Row) -> Unit:
        settings = self._settings[r["identity"]]
        data = sorted((key, repr(value)) for key, value in settings.items() if key.startswith("dataset."))
        steps = settings.get("steps")
        budget = (steps, settings.get("epochs") if steps is None else None, settings.get("batch_size"))
        return (name, *data, settings["seed"], *budget, str(r["backbone"]), str(r["model"]))

    def _target(self, r: Row) -> Unit:
        return (
            *self._unit("source-only", r),
            *(str(part) for part in (r["weights"], r["config"].get("init_from"), r["head"])),
        )


def _has_target(r: Row) -> bool:
    return bool((r["config"].get("dataset") or {}).get("target"))
