"""Hyper-parameters chosen on validation: in each group of runs the configuration that is best over its seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlresearch.config.errors import ConfigError, Problem, nearest
from tlresearch.core.metrics import falls
from tlresearch.results.report import SEEDS, Group, alike, check_metric, differences, group, leaves, metric_of
from tlresearch.results.runs import look_up

Row = Mapping[str, Any]

_ABSENT = object()


class Configuration(NamedTuple):
    """Runs of a group that differ in their seeds alone, all of which are named.

    values: those of the `over` keys that it has; score: the mean over the seeds that are compared.
    """

    values: dict[str, Any]
    score: float
    seeds: list[str]


class Choice(NamedTuple):
    """What was chosen in one group.

    group: the runs of the chosen configuration on the seeds compared, with the metric to be shown; score: their mean of
    the metric selected by; tried: all configurations, the chosen one first; runs: how many there are in the group;
    seeds: those compared; ties: how many others have the same score; oracle: chosen by numbers of the test rows;
    warnings: what was left out of the comparison.
    """

    group: Group
    values: dict[str, Any]
    score: float
    tried: list[Configuration]
    runs: int
    seeds: list[str]
    oracle: bool
    warnings: list[str]

    @property
    def ties(self) -> int:
        """How many other configurations have the score of the chosen one."""
        return sum(other.score == self.score for other in self.tried) - 1


def direction(metric: str) -> str:
    """minimised for losses and errors, otherwise maximised."""
    return "minimised" if falls(metric) else "maximised"


def rule(select: str, over: Sequence[str]) -> str:
    """The sentence that says what was chosen by which numbers."""
    said = f"{', '.join(over)} chosen by {select} ({direction(select)}), the mean over seeds"
    return said + ("; an oracle: it is no number of the validation rows" if is_oracle(select) else "")


def is_oracle(metric: str) -> bool:
    """Whether a metric was computed on test rows: whatever is not of the validation rows."""
    return not metric.startswith("validation.")


def choose(found: Sequence[dict[str, Any]], *, select: str, over: Sequence[str], metric: str) -> list[Choice]:
    """The best configuration of every group of runs that are equal but for `over` and the seeds.

    Configurations are compared by the mean of `select` over the seeds that all of the group have; of equal ones the
    first by its values is taken. Groups that have nothing to compare (`over` does not apply to them) are there too.

    Args:
        found: rows of `report.rows`, of which those that are done count, an identity once; over: dotted keys.

    Raises ConfigError for a key that no run has or that does not vary, a metric that no run has, configurations
    without a common seed, and runs of the same configuration and seed on other data.
    """
    done = list({r["identity"]: r for r in found if r["status"] == "done"}.values())
    if not done:
        raise ConfigError("no run that is done, so nothing to choose from; `tlresearch train -m` makes some")
    check_metric("select", select, done)
    check_metric("metric", metric, done)
    _check_keys(done, over)
    members = alike(done, over)
    _check_variation(done, members, over)
    names = [", ".join(found) for found in differences([rows[0] for rows in members], over)]
    choices = (_choose(rows, name, select, over, metric) for rows, name in zip(members, names, strict=True))
    return [choice for choice in choices if choice is not None]


def _check_keys(done: Sequence[Row], over: Sequence[str]) -> None:
    for key in over:
        if key in SEEDS:
            raise ConfigError(Problem("over", f"{key!r}: means are taken over seeds; leave it out"))
        if all(look_up(r["config"], key, _ABSENT) is _ABSENT for r in done):
            raise ConfigError(Problem("over", f"{key!r}: no run has it; {nearest(key, _varying(done))}"))


def _varying(done: Sequence[Row]) -> set[str]:
    """Settings that have several values among the runs."""
    values: dict[str, set[str]] = {}
    for r in done:
        for key, value in leaves(r["config"]):
            values.setdefault(key, set()).add(json.dumps(value, default=str))
    return {key for key, found in values.items() if len(found) > 1 and key not in SEEDS}


def _check_variation(done: Sequence[Row], groups: Sequence[Sequence[Row]], over: Sequence[str]) -> None:
    """Every key must tell some runs of some group apart; otherwise nothing is chosen, and the user means another."""
    for key in over:
        if all(len({_text(_values(r, [key])) for r in rows}) == 1 for rows in groups):
            reason = f"does not vary among runs that are otherwise equal; {_there(_varying(done))}"
            raise ConfigError(Problem("over", f"{key!r}: {reason}"))


def _there(names: set[str]) -> str:
    return f"settings that vary: {', '.join(sorted(names))}" if names else "no setting does"


def _choose(rows: list[dict[str, Any]], name: str, select: str, over: Sequence[str], metric: str) -> Choice | None:
    """The choice of one group; None where no run of it has the metric selected by."""
    where = f"{name}: " if name else ""
    by_values: dict[str, dict[str, dict[str, Any]]] = {}
    lacking = 0
    for r in rows:
        if metric_of(r["metrics"], select) is None:
            lacking += 1
            continue
        cell = by_values.setdefault(_text(_values(r, over)), {})
        other = cell.setdefault(_seeds(r), r)
        if other is not r:
            message = f"{other['folder']} and {r['folder']} have one configuration and seed but other data or weights"
            raise ConfigError(f"{where}{message}; report them one by one")
    if not by_values:
        return None
    common = set.intersection(*(set(cell) for cell in by_values.values()))
    listed = "; ".join(f"{text(_values(next(iter(c.values())), over))}: {', '.join(c)}" for c in by_values.values())
    if not common:
        reason = f"the configurations have no seed in common ({listed}); run the missing ones"
        raise ConfigError(where + reason)
    warnings = [f"{where}{lacking} run(s) without {select}, left out"] if lacking else []
    seeds = sorted(common, key=_natural)
    if any(len(cell) > len(common) for cell in by_values.values()):
        warnings.append(f"{where}unequal seeds ({listed}); compared on {', '.join(seeds)}")
    scored = []
    for cell in by_values.values():
        compared = [cell[seed] for seed in seeds]
        score = sum(metric_of(r["metrics"], select) for r in compared) / len(seeds)
        scored.append((Configuration(_values(compared[0], over), score, list(cell)), compared))
    sign = 1 if direction(select) == "minimised" else -1
    scored.sort(key=lambda found: (sign * found[0].score, [_natural(_text(v)) for v in found[0].values.values()]))
    oracle = is_oracle(select) or any((r.get("selection") or {}).get("oracle") for r in rows)
    tried, best = [found for found, _ in scored], group(scored[0][1], metric)
    return Choice(best, tried[0].values, tried[0].score, tried, len(rows) - lacking, seeds, oracle, warnings)


def _values(r: Row, over: Sequence[str]) -> dict[str, Any]:
    """The run's values of the keys that it has."""
    return {key: value for key in over if (value := look_up(r["config"], key, _ABSENT)) is not _ABSENT}


def text(values: Mapping[str, Any]) -> str:
    """Settings as one would type them: "optimizer.lr=0.01 method=[lora,ewc]"."""
    return " ".join(f"{key}={value_text(value)}" for key, value in values.items())


def value_text(value: Any) -> str:
    """A setting's value; of a plugin its name and of several their list, with options where it has any."""
    if not isinstance(value, Mapping):
        return "null" if value is None else str(value)
    return json.dumps(value, default=str)


def _text(values: Any) -> str:
    return json.dumps(values, default=str)


def _seeds(r: Row) -> str:
    """The run's seed, and that of its sample where it is another."""
    seed, sample = (look_up(r["config"], key) for key in SEEDS)
    return str(seed) if sample in (None, seed) else f"{seed}/{sample}"


def _natural(number: str) -> tuple[bool, float, str]:
    """Numbers in order of size before other texts."""
    try:
        return False, float(number), ""
    except ValueError:
        return True, 0.0, number
