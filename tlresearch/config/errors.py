"""A user's mistakes: what was given, under which key, what is allowed, what to do. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn, TypeVar

T = TypeVar("T")


class Problem(NamedTuple):
    """One mistake: the configuration key ("" where none is to blame) and what is wrong, allowed and to be done."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class ConfigError(ValueError):
    """One or several mistakes of the user's, raised before training and before anything is written.

    The command line prints the problems without a traceback and ends with exit code 2.
    """

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(p if isinstance(p, Problem) else Problem("", p) for p in problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def below(self, prefix: str) -> ConfigError:
        """The same mistakes with every key moved below `prefix` ("rank" below "method.lora" is "method.lora.rank")."""
        return ConfigError(*(Problem(f"{prefix}.{p.key}" if p.key else prefix, p.message) for p in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Problem, ...]]:
        return type(self), self.problems


def fail(key: str, value: object, message: str) -> NoReturn:
    """Raises the error for one key: `fail("path", path, "no such file; give an existing CSV or JSONL file")`."""
    raise ConfigError(Problem(key, f"{value!r}: {message}"))


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raises unless `condition`: `require(rank >= 1, "rank", rank, "an integer of at least 1")`.

    Keys are those of the class's own arguments; the builder puts `method.lora.` in front.
    """
    if not condition:
        fail(key, value, f"must be {allowed}")


def nearest(value: str, allowed: Iterable[str]) -> str:
    """The sentence that names the allowed values, the nearest first: "did you mean 'ewc'? Allowed: dann, ewc"."""
    names = sorted(allowed)
    folded = {name.casefold(): name for name in names}
    match = difflib.get_close_matches(value.casefold(), folded, 1, 0.5)
    guess = f"did you mean {folded[match[0]]!r}? " if match else ""
    return f"{guess}Allowed: {', '.join(names) or 'none'}"


def choose(key: str, value: str, allowed: Iterable[str]) -> str:
    """Returns `value` if it is one of `allowed`, raises with the nearest match otherwise."""
    names = list(allowed)
    if value not in names:
        fail(key, value, f"unknown; {nearest(value, names)}")
    return value


class Problems:
    """Collects the mistakes of independent checks, to be raised together once: the user mends all of them in one go."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def attempt(self, prefix: str, make: Callable[[], T]) -> T | None:
        """Calls `make`; a user's mistake in it is kept under `prefix` and None returned."""
        try:
            return make()
        except ConfigError as error:
            self.found += (error.below(prefix) if prefix else error).problems
        return None

    def add(self, key: str, message: str) -> None:
        """Keeps a mistake that was found without an exception."""
        self.found.append(Problem(key, message))

    def raise_any(self) -> None:
        """Raises all that was found as one ConfigError, each problem once."""
        if self.found:
            raise ConfigError(*dict.fromkeys(self.found))
