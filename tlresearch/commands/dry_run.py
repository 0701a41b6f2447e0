"""`tlresearch train dry_run=true`: the runs, what the store knows of each, and how long the rest may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tlresearch.commands.sweep import duration
from tlresearch.config.compose import check
from tlresearch.config.errors import fail
from tlresearch.results import lock, store
from tlresearch.results.estimate import Estimate, estimate
from tlresearch.results.runs import Run

if TYPE_CHECKING:
    from omegaconf import DictConfig

STATES = ("done", "stale", "failed", "running", "interrupted", "to do")


class Planned(NamedTuple):
    """One run that was asked for. state: one of STATES; open: whether the command would run it."""

    folder: Path
    config: dict[str, Any]
    state: str
    open: bool

    def now(self) -> Planned:
        """The same run, with its state at this moment."""
        return look(self.folder, self.config)


def show(runs: Iterable[tuple[DictConfig, Sequence[str]]], tell: Callable[[Exception], None]) -> None:
    """Prints a line for each run, then how many there are of each state and an estimate of the time left.

    Builds the data, which the identities depend on, but no model; writes nothing. tell: gets the error of a run that
    would be refused.
    """
    planned, refused = [], 0
    for config, overrides in runs:
        try:
            check(config)
            if config.pipeline is not None:
                reason = "what a later run of a pipeline starts from is known once the earlier ones are done"
                fail("dry_run", True, f"{reason}, so they cannot be listed; leave one of the two out")
            found = plan(config)
        except Exception as error:
            tell(error)
            refused += 1
            continue
        told = " ".join(override for override in overrides if not override.startswith("dry_run="))
        print(f"{found.folder.name}  {found.state:<11}  {told}".rstrip(), flush=True)
        planned.append(found)
    different = list({found.folder: found for found in planned}.values())
    print(counts(different, refused, len(planned) - len(different)))
    left = [found for found in different if found.open]
    if left:
        print(time_left(estimate([found.config for found in left])))


def plan(config: DictConfig) -> Planned:
    """What the store knows of one run. Reads the data, which its identity depends on."""
    from tlresearch.runner import prepare, resolve

    plain = resolve(config)
    return look(prepare(plain).folder, plain)


def look(folder: Path, config: dict[str, Any]) -> Planned:
    """What the store knows of the run in a folder. config: resolved."""
    record = store.read_record(folder)
    state = "to do" if record is None else str(record["status"])
    if record is not None and state == "done":
        state = "stale" if Run(folder, record).stale else "done"
    elif lock.holder(folder, touch=False):
        state = "running"
    again = {"stale": config["rerun_stale"], "failed": config["retry_failed"]}
    return Planned(folder, config, state, bool(again.get(state, state in ("interrupted", "to do"))))


def counts(planned: Sequence[Planned], refused: int, twice: int) -> str:
    """ "8 runs: 3 done, 1 failed (retry_failed=true runs it again), 4 to do"."""
    number = Counter(found.state for found in planned)
    still = {found.state for found in planned if not found.open}
    advice = {"stale": "rerun_stale=true runs it again", "failed": "retry_failed=true runs it again"}
    parts = [
        f"{number[state]} {state}" + (f" ({advice[state]})" if state in advice and state in still else "")
        for state in STATES
        if number[state]
    ]
    parts += [f"{refused} refused"] if refused else []
    total = len(planned) + refused
    line = f"{total} run{'s' * (total != 1)}: {', '.join(parts)}"
    return line + (f"; {twice} more that are the same as one of them" if twice else "")


def time_left(found: Estimate) -> str:
    """ "time left: about 6 min, one run after the other, by 3 like runs of the store"."""
    if not found.by:
        return f"time left: unknown, the store has no like run for {_runs(found.unknown)}"
    line = f"time left: about {duration(found.seconds)}, one run after the other, by {found.by} like "
    line += f"run{'s' * (found.by != 1)} of the store"
    return line + (f"; unknown for {_runs(found.unknown)} more" if found.unknown else "")


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"
