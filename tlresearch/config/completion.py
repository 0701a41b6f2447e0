"""What may come next on a command line: Hydra's own answers for `train`, and what Hydra cannot complete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tlresearch.config import registry, schema
from tlresearch.config.reader import Option

SHELLS = ("bash", "zsh", "fish")


def complete(words: Sequence[str], commands: Iterable[str]) -> list[str]:
    """Candidates for the last of `words`, all that follows `tlresearch`; [] where nothing is known."""
    *before, word = words
    if not before:
        return _starting(word, commands)
    if before[0] == "train":
        return _train(before[1:], word)
    if before[0] == "completion":
        return _starting(word, SHELLS) if len(before) == 1 else []
    if before[0] == "reproduce":
        claims = [file.stem for file in sorted((registry.shipped("conf") / "claim").glob("*.yaml"))]
        return [name for name in _starting(word, claims) if name not in before]
    if before[0] in ("list", "show"):
        kinds = [*registry.KINDS, "settings"] if before[0] == "show" else list(registry.KINDS)
        if len(before) == 1:
            return _starting(word, kinds)
        if before[0] == "show" and len(before) == 2 and before[1] in registry.KINDS:
            return _starting(word, [*registry.names(before[1]), *registry.variants(before[1])])
    return []


def _train(before: list[str], word: str) -> list[str]:
    from hydra._internal.utils import get_args_parser

    if word.startswith("-"):
        flags = [flag for action in get_args_parser()._actions for flag in action.option_strings]
        return _starting(word, [flag for flag in flags if flag.startswith("--") or word == "-"])
    chosen = re.match(r"(\+{0,2})(\w[\w./@]*)=(.*)$", word)
    if chosen:
        sign, key, value = chosen.groups()
        if key in registry.KINDS or value.startswith("[") or "," in value:
            return [f"{sign}{key}={v}" for v in _names(key, value, before)]
        option = _option(key)
        if option and (option.choices or option.annotation == "bool"):
            return [f"{sign}{key}={v}" for v in _starting(value, option.choices or ("false", "true"))]
    return _hydra(before, word)


def _names(group: str, value: str, before: list[str]) -> list[str]:
    """The last name of a list `[a,b` or of a sweep `a,b`; names that stand there already are not offered again."""
    head, separator, last = re.fullmatch(r"(.*?)([\[,]?)([^\[,]*)", value, re.DOTALL).groups()  # type: ignore[union-attr]
    stem = head + separator
    opened = stem[stem.rfind("[") :] if stem.rfind("[") > stem.rfind("]") else stem
    taken = set(re.findall(r"[\w-]+", opened))
    names = [n.removeprefix(f"{group}=") for n in _hydra(before, f"{group}=")]
    if not stem and group in registry.KINDS and registry.KINDS[group].multiple and not last:
        return [f"[{name}" for name in names]
    return [stem + name for name in _starting(last, names) if name not in taken]


def _option(key: str) -> Option | None:
    """The first option that is declared under a key, whichever plugin of the kind declares it."""
    kind = key.partition(".")[0]
    for entry in registry.index().values():
        if entry.kind == kind and not entry.error:
            for option in schema.options(entry):
                if f"{schema.key(kind, entry.name)}.{option.name}" == key:
                    return option
    return None


def _hydra(before: list[str], word: str) -> list[str]:
    from hydra.errors import HydraException
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin
    from omegaconf.errors import OmegaConfBaseException

    from tlresearch.config.compose import loader
    from tlresearch.config.errors import ConfigError

    plugin = DefaultCompletionPlugin(loader())
    flags = [w for w in before if w in ("-m", "--multirun")]
    overrides = [w for w in before if not w.startswith("-") and " " not in w and "=" in w]
    line = " ".join([*flags, *overrides, word]) if word else " ".join([*flags, *overrides, ""])
    try:
        found = plugin._query("config", line)
    except (HydraException, OmegaConfBaseException, ConfigError):
        return []  # an earlier word cannot be composed: the command itself will say why
    return [_assigned(found) for found in found if word.startswith("hydra") or not found.startswith("hydra")]


def _assigned(candidate: str) -> str:
    """Hydra walks into lists (`targets.`), which are given as a whole (`targets=`)."""
    option = _option(candidate.rstrip("."))
    return candidate.rstrip(".") + "=" if option and option.annotation.startswith(("list", "tuple")) else candidate


def _starting(prefix: str, values: Iterable[str]) -> list[str]:
    return sorted({value for value in values if value.startswith(prefix)})
