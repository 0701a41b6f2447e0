"""`--where KEY=VALUE`: the runs that a report is about, chosen by their settings, columns, metrics or costs."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tlresearch.config.errors import ConfigError, Problem, fail
from tlresearch.results.keys import Keys, listed, sort_key, text

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Condition(NamedTuple):
    """A key, how it is compared, and with what; of several values for = one must, for != none may be the run's."""

    key: str
    comparison: str
    values: list[str]

    def __str__(self) -> str:
        return f"{self.key}{self.comparison}{','.join(self.values)}"

    def holds(self, value: Any) -> bool:
        """Whether a run with that value is meant; where an order is asked for, only numbers are."""
        if self.comparison in _ORDER:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and bool(_ORDER[self.comparison](value, float(self.values[0])))
        return any(_same(self.key, value, given) for given in self.values) == (self.comparison == "=")


def conditions(given: Sequence[str]) -> list[Condition]:
    """Reads KEY=VALUE, KEY!=VALUE, KEY<VALUE, <=, >, >=, several with commas; "method=lora,probe" means either."""
    found: list[Condition] = []
    for part in (part.strip() for one in given for part in re.split(r",(?![^\[]*\])", one)):
        match = re.fullmatch(r"([^=!<>]+?)\s*(!=|<=|>=|==|=|<|>)\s*(.*)", part)
        if match:
            found.append(Condition(match[1], match[2].replace("==", "="), [match[3]]))
        elif found and found[-1].comparison in ("=", "!=") and part:
            found[-1].values.append(part)
        else:
            fail("--where", part, "no comparison; KEY=VALUE, KEY!=VALUE, KEY<VALUE, <=, >, >=, more after commas")
    for condition in found:
        if condition.comparison in _ORDER and _number(condition.values[0]) is None:
            fail("--where", str(condition), f"{condition.comparison} compares with a number")
    return found


def where(found: Sequence[dict[str, Any]], given: Sequence[str], keys: Keys) -> list[dict[str, Any]]:
    """The rows for which all conditions hold. keys: of all rows.

    Raises ConfigError for a key that no run has, and where nothing is left, with the values that there are.
    """
    left = list(found)
    for condition in conditions(given):
        keys.check("--where", condition.key)
        before, left = left, [r for r in left if condition.holds(keys.value(r, condition.key))]
        if before and not left:
            values = {text(condition.key, value): value for value in (keys.value(r, condition.key) for r in before)}
            others = " of those that the conditions before it leave" if len(before) < len(found) else ""
            there = listed(sorted(values, key=lambda name: sort_key(values[name])), 20)
            raise ConfigError(Problem("--where", f"{str(condition)!r}: no run{others}; values there: {there}"))
    return left


def _same(key: str, value: Any, given: str) -> bool:
    if value is None:
        return given in ("null", text(key, None))
    number = None if isinstance(value, bool | str) else _number(given)
    if number is not None and isinstance(value, int | float):
        return number == value
    return _plain(text(key, value)) == _plain(given.lower() if isinstance(value, bool) else given)


def _plain(said: str) -> str:
    """Lists without quotes and spaces; the methods of a run as [lora,ewc] or lora+ewc."""
    if said.startswith("[") and said.endswith("]"):
        return re.sub(r"[\s\"'\[\]]", "", said).replace(",", "+")
    return said


def _number(given: str) -> float | None:
    try:
        return float(given)
    except ValueError:
        return None
