"""The jobs of a sweep composed from each other: most differ in a few values alone."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

Compose = Callable[[DictConfig, list[str]], DictConfig]
KEPT = 8
"""So many composed configurations are kept to make others from."""


class Alike:
    """Composes as `compose` does; where only values differ from an earlier job, in a copy of that job's configuration.

    Hydra reads and merges every file anew for each job, which takes longer than some of our runs. Values are the last
    that it applies, in the order in which they are given: so this holds for an override `key=value` of a key that is no
    config group and lies neither above nor below that of another override. Any doubt, or error, is left to Hydra.
    """

    def __init__(self, compose: Compose, loader: ConfigLoader) -> None:
        self.compose, self.loader = compose, loader
        self.known: OrderedDict[tuple[str, ...], tuple[DictConfig, list[str]]] = OrderedDict()
        self.groups: dict[str, bool] = {}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of a job."""
        pattern = self._pattern(sweep_overrides)
        if pattern in self.known:
            try:
                return self._from(*self.known[pattern], master_config, sweep_overrides)
            except OmegaConfBaseException:
                pass  # Hydra says what is wrong
        config = self.compose(master_config, sweep_overrides)
        self.known[pattern] = copy.deepcopy(config), list(sweep_overrides)
        if len(self.known) > KEPT:
            self.known.popitem(last=False)
        return config

    def _pattern(self, overrides: Sequence[str]) -> tuple[str, ...]:
        """The overrides without the values that may differ."""
        parsed = [_parse(override) for override in overrides]
        choices = [o for o in parsed if self._is_group(o.key_or_group) and not isinstance(o.value(), dict)]
        keys = Counter(o.key_or_group for o in parsed) - Counter(o.key_or_group for o in choices)  # these come first
        above = Counter(part for key in keys.elements() for part in _and_above(key))

        def alone(key: str) -> bool:
            return above[key] == 1 and not any(keys[part] for part in _and_above(key)[:-1])

        return tuple(
            f"{o.key_or_group}=" if self._is_value(o) and alone(o.key_or_group) else text
            for o, text in zip(parsed, overrides, strict=True)
        )

    def _is_value(self, override: Override) -> bool:
        key = override.key_or_group
        plain = override.input_line is not None and override.input_line.startswith(f"{key}=")
        if not plain or override.package is not None or override.is_sweep_override() or override.is_hydra_override():
            return False
        return not self._is_group(key) and not isinstance(override.value(), list | dict)

    def _is_group(self, key: str) -> bool:
        if key not in self.groups:
            self.groups[key] = bool(self.loader.get_group_options(key))
        return self.groups[key]

    def _from(
        self, template: DictConfig, before: Sequence[str], master_config: DictConfig, overrides: Sequence[str]
    ) -> DictConfig:
        config = copy.deepcopy(template)
        for old, new in zip(before, overrides, strict=True):
            if old != new:
                override = _parse(new)
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        own = [o for o in map(_parse, overrides) if not o.is_hydra_override()]
        options = config.hydra.job.config.override_dirname
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.task = [o.input_line for o in own]
            config.hydra.job.override_dirname = get_overrides_dirname(
                own, kv_sep=options.kv_sep, item_sep=options.item_sep, exclude_keys=options.exclude_keys
            )
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config


@lru_cache(4096)
def _parse(override: str) -> Override:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed


def _and_above(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
