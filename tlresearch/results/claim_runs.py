"""The runs that a claim's sweep asks for, and what a store has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.compose import composed_sweep
from tlresearch.config.errors import ConfigError, Problem, fail
from tlresearch.results import store
from tlresearch.results.claim_file import Claim
from tlresearch.results.claims import Cell, Verdict, judge
from tlresearch.results.identity import IRRELEVANT
from tlresearch.results.report import metrics, shared
from tlresearch.results.runs import Run, look_up


class Wanted(NamedTuple):
    """The runs of one cell. key: what they share, as `report.shared` tells; seeds: theirs."""

    key: str
    seeds: list[str]


class State(NamedTuple):
    """A claim, and how far it is measured.

    runs: cell → seed → the run that is done; wanted: cell → its runs; store: where they were looked for; changed: what
    of the protocol was changed by overrides.
    """

    claim: Claim
    wanted: dict[str, Wanted]
    runs: dict[str, dict[str, Run]]
    store: Path
    data_dir: str | None
    changed: list[str]

    @property
    def missing(self) -> int:
        """How many runs are not done."""
        return sum(seed not in self.runs[name] for name, wanted in self.wanted.items() for seed in wanted.seeds)

    @property
    def total(self) -> int:
        """How many there are to be."""
        return sum(len(wanted.seeds) for wanted in self.wanted.values())

    @property
    def stale(self) -> int:
        """How many of those that are done were made by other code than today's."""
        return sum(run.stale for runs in self.runs.values() for run in runs.values())

    @property
    def cells(self) -> dict[str, Cell]:
        """Published and measured values, in the claim's unit."""
        return {name: Cell(cell.value, self._values(name)) for name, cell in self.claim.cells.items()}

    @property
    def verdict(self) -> Verdict:
        """What the runs that are done say."""
        seeds = max(len(wanted.seeds) for wanted in self.wanted.values())
        return judge(self.cells, self.claim.rules, seeds, comparable=self.claim.comparable)

    def _values(self, name: str) -> dict[str, float]:
        values = {seed: metrics(run.metrics).get(self.claim.metric) for seed, run in self.runs[name].items()}
        return {seed: value * self.claim.scale for seed, value in values.items() if isinstance(value, int | float)}


def state(claim: Claim, overrides: Sequence[str] = ()) -> State:
    """What there is of a claim. overrides: as of `tlresearch train`; raises ConfigError for one that it would refuse.

    Refused is also a sweep that does not fit the claim: a run that is of no cell or of two, and a cell without runs.
    """
    wanted: dict[str, Wanted] = {}
    place, data_dir = Path("runs"), None
    for config in composed_sweep(claim.sweep, overrides, folders(claim)):
        place, data_dir = Path(config["store"]), config["data_dir"]
        fitting = [name for name, cell in claim.cells.items() if _fits(config, cell.where)]
        if len(fitting) != 1:
            told = f"is of the cells {', '.join(fitting)}" if fitting else "is of no cell"
            raise _misfit(claim, f"a run of sweep {claim.sweep!r} ({_told(config, claim)}) {told}; mend `where`")
        key = shared({"config": config})
        found = wanted.setdefault(fitting[0], Wanted(key, []))
        if found.key != key:
            raise _misfit(claim, f"cell {fitting[0]!r} has runs that differ in more than their seeds; mend `where`")
        found.seeds.append(str(config["seed"]))
    for name in claim.cells:
        if name not in wanted:
            raise _misfit(claim, f"no run of sweep {claim.sweep!r} is of cell {name!r}; mend `where` or the sweep")
    changed = [o for o in overrides if o.lstrip("+~").partition("=")[0].partition(".")[0] not in (*IRRELEVANT, "hydra")]
    changed = [o for o in changed if not o.startswith(("hydra/", "seed="))]
    return State(claim, wanted, _done(claim, wanted, place), place, data_dir, changed)


def folders(claim: Claim) -> list[str]:
    """More folders in which the claim's sweep may lie."""
    return [] if claim.folder is None else [str(claim.folder)]


def _misfit(claim: Claim, message: str) -> ConfigError:
    return ConfigError(Problem(f"claim {claim.name}", message))


def _done(claim: Claim, wanted: Mapping[str, Wanted], place: Path) -> dict[str, dict[str, Run]]:
    """Cell → seed → run, of several with one seed the latest."""
    cells = {cell.key: name for name, cell in wanted.items()}
    found: dict[str, dict[str, Run]] = {name: {} for name in claim.cells}
    for folder, record in store.records(place):
        if record.get("status") != "done":
            continue
        name = cells.get(shared({"config": record["config"]}))
        seed = str(record["config"].get("seed"))
        if name is None or seed not in wanted[name].seeds:
            continue
        other = found[name].get(seed)
        if other is None or str(other.record.get("updated")) < str(record.get("updated")):
            found[name][seed] = Run(folder, record)
    return found


def _fits(config: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    for key, value in where.items():
        found = look_up(config, key, ...)
        if (list(found) if isinstance(found, Mapping) else found) != value:
            return False
    return True


def _told(config: Mapping[str, Any], claim: Claim) -> str:
    """Those settings of a run that the cells ask for."""
    asked = dict.fromkeys(key for cell in claim.cells.values() for key in cell.where)
    values = {key: look_up(config, key) for key in asked}
    return ", ".join(f"{key}={list(v) if isinstance(v, Mapping) else v}" for key, v in values.items())


def check_data(found: State) -> None:
    """Raises ConfigError where what the claim reads is not there."""
    places = [Path(found.data_dir)] if found.data_dir else [Path()]
    missing = [path for path in found.claim.data if not any((place / path).exists() for place in places)]
    if missing:
        names = ", ".join(missing)
        advice = "pass data_dir=FOLDER, the folder that they lie below"
        fail("data_dir", found.data_dir, f"claim {found.claim.name!r} reads {names}, which is not there; {advice}")


def rules_of_selection(runs: Mapping[str, Run]) -> str:
    """By which rule the checkpoints behind a cell's numbers were selected."""
    found = [run.record.get("selection") or {} for run in runs.values()]
    return ", ".join(sorted({f"{rule.get('rule')}{' (oracle)' if rule.get('oracle') else ''}" for rule in found}))
