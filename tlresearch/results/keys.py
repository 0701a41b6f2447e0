"""Keys by which runs are told apart: columns of a row, dotted keys of its configuration, and what else a row holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tlresearch.config.errors import ConfigError, Problem, nearest
from tlresearch.results.report import has_pretrained, leaves, method_name, settings
from tlresearch.results.runs import look_up

Row = Mapping[str, Any]

COLUMNS = (
    "method", "backbone", "model", "weights", "head", "predictor", "dataset", "labels_per_class", "seed", "status",
    "stale", "metric", "identity",
)  # fmt: skip
"""Columns of a row that are keys of their own; `method` is what `report` calls it: scratch, finetune, lora+ewc."""

SPEAKING = ("method", "backbone", "model", "head", "predictor", "dataset")
"""Keys whose values say by themselves what they are of."""

ABSENT = "-"
"""Stands for a setting that a run does not have."""


class Keys:
    """Values of keys. found: all rows that are looked at together: a run is "scratch" where others are pretrained."""

    def __init__(self, found: Iterable[Row]) -> None:
        self.found = list(found)
        self.pretrained = has_pretrained(self.found)

    def value(self, r: Row, key: str) -> Any:
        """The run's value; None where it has none. Of a plugin with its options, the plugin's name."""
        if key == "method":
            return method_name(r, self.pretrained)
        if key in COLUMNS:
            return r[key]
        value = look_up(r["config"], key)
        if value is None and key.partition(".")[0] in ("metrics", "cost", "fingerprint", "selection"):
            value = look_up(r, key)
        return value["name"] if isinstance(value, Mapping) and "name" in value else value

    def check(self, option: str, key: str) -> None:
        """Raises ConfigError for a key that no run has."""
        if key in COLUMNS or any(look_up(r["config"], key, self) is not self for r in self.found):
            return
        if any(self.value(r, key) is not None for r in self.found):
            return
        names = {name for r in self.found for name, _ in leaves(r["config"])}
        raise ConfigError(Problem(option, f"{key!r}: no run has it; {nearest(key, {*names, *COLUMNS})}"))


def text(key: str, value: Any) -> str:
    """A value as one would type it; "all" for no limit on labels, "-" for what is not there."""
    if value is None:
        return "all" if key.rpartition(".")[2] == "labels_per_class" else ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def named(key: str, value: Any) -> str:
    """A value with what it is of: "lora", but "labels_per_class=5"."""
    said = text(key, value)
    return said if key in SPEAKING else f"{key.rpartition('.')[2]}={said}"


def sort_key(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then texts, and last what is missing, so that "all" labels come after 50."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def about_data(key: str) -> bool:
    """Whether a key says which rows are learned from or tested on."""
    return key in ("dataset", "labels_per_class") or key.startswith("dataset.")


def about_labels(key: str) -> bool:
    """Whether a key says how many labels are learned from."""
    return key in ("labels_per_class", "dataset.labels_per_class")


def flat(r: Row) -> dict[str, Any]:
    """Every setting that may change the numbers, seeds aside, in values that can be compared and hashed."""
    return {key: _hashable(key, value) for key, value in settings(r)}


def seeds(r: Row) -> dict[str, Any]:
    """The run's seed, and that of its sample and of its split, where it draws them."""
    config = r["config"]
    sample, split = look_up(config, "dataset.sample_seed"), look_up(config, "dataset.split_seed")
    sample = config.get("seed") if sample is None else sample
    found = {"seed": config.get("seed"), "dataset.sample_seed": sample, "dataset.split_seed": split}
    return {key: _hashable(key, value) for key, value in found.items()}


def _hashable(key: str, value: Any) -> Any:
    return value if value.__hash__ else text(key, value)


def listed(values: Sequence[str], most: int = 6) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more
