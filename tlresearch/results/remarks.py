"""What has to be said beside the numbers of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tlresearch.results.keys import SPEAKING, listed
from tlresearch.results.pairing import Varying
from tlresearch.results.report import SEEDS

FEW_FOR_WILCOXON = 6
"""With fewer pairs the two-sided signed-rank test cannot come below 0.05: the least p of n pairs is 2 / 2^n."""

FEW_FOR_BOOTSTRAP = 10

MOST_LINES = 8
"""So many groups are told of one by one; the JSON has the others."""


class Compared(Protocol):
    """What `differing` reads of a group."""

    @property
    def context(self) -> Any:
        """Equal for groups that are compared with each other."""

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Of each run."""

    @property
    def varying(self) -> Varying:
        """Those that vary among the group's runs."""


def remarks(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each thing that a reader of the groups has to know; groups: as in `comparison.compare`."""
    worse = [g for g in groups if g["negative_transfer"]]
    found = _first([f"negative transfer: {g['name']} is {g['negative_transfer']}" for g in worse])
    found += _first([f"{g['name']} averages over {g['averaged_over']}" for g in groups if g["averaged_over"]])
    stale = sum(g["stale"] for g in groups)
    if stale:
        found.append(f"{stale} run(s) made by other code than today's; rerun_stale=true runs them again")
    oracles = [g["name"] for g in groups if g["oracle"]]
    if oracles:
        found.append(f"oracle numbers, chosen with labels of the test rows: {listed(oracles)}")
    single = [g["name"] for g in groups if g["n"] == 1]
    if single:
        found.append(f"one run only, so no interval and no test: {listed(single)}")
    if any(1 < g["n"] < FEW_FOR_BOOTSTRAP for g in groups):
        found.append(f"bootstrap intervals of fewer than {FEW_FOR_BOOTSTRAP} runs are too narrow; trust Student's")
    tests = [g["against_best"] for g in groups if g["against_best"] and g["against_best"]["p_t"] is not None]
    if tests:
        found.append(
            "against the best on the same data: two-sided paired t-test, Holm-corrected within the data set; effect "
            "is Cohen's d_z; more seeds for a power of 80 % at 0.05, were the effect as it is here"
        )
    if any(test["n"] < FEW_FOR_WILCOXON for test in tests):
        found.append(f"Wilcoxon's test cannot come below 0.05 with fewer than {FEW_FOR_WILCOXON} pairs")
    return found


def differing(members: Sequence[Compared], by: Sequence[str]) -> list[str]:
    """Settings other than those of `by` that are one value within each group and another between compared groups."""
    tops = {key.partition(".")[0] for key in by if key in SPEAKING or "." not in key}
    contexts: dict[Any, list[Compared]] = {}
    for m in members:
        contexts.setdefault(m.context, []).append(m)
    keys: dict[str, None] = {}
    for together in contexts.values() if by else ():
        first = together[0].settings[0]
        for m in together[1:]:
            for key, value in m.settings[0].items():
                own = key in by or key.partition(".")[0] in tops or key in (*SEEDS, "dataset.split_seed", "method")
                if not own and key in first and first[key] != value and not _varies(key, together):
                    keys[key] = None
    return [f"compared groups differ also in {listed(sorted(keys))}"] if keys else []


def _varies(key: str, together: Sequence[Compared]) -> bool:
    return any(key in m.varying.values for m in together)


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"… and {more} more groups like these"]
