"""From overrides to a checked configuration: `compose` puts it together, `check` finds the user's mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tlresearch.config import source
from tlresearch.config.check import check as check
from tlresearch.config.errors import ConfigError
from tlresearch.config.messages import user_error as user_error
from tlresearch.config.quoting import quote

VERSION_BASE = "1.3"


def loader(folders: Sequence[str] = ()) -> ConfigLoaderImpl:
    """Hydra's loader over the shipped YAML and the registry; its global state, which a running job owns, stays out.

    folders: more folders with YAML, as Hydra's `--config-dir` names them.
    """
    source.install()
    version.setbase(VERSION_BASE)
    setup_globals()
    path = create_config_search_path(None)
    for folder in folders:
        path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))  # as Hydra itself does
    return ConfigLoaderImpl(config_search_path=path)


def compose(overrides: Sequence[str] = (), config_name: str = "config", folders: Sequence[str] = ()) -> DictConfig:
    """The configuration that `tlresearch train OVERRIDES…` would run: `compose(["method=[lora]", "seed=1"])`.

    folders: more folders with YAML.

    Raises ConfigError for an unknown name or key, a wrong type and whatever else the command line refuses.
    """
    with _told():
        given = [quote(o) for o in overrides]
        config = loader(folders).load_configuration(config_name, given, RunMode.RUN, from_shell=False)
    with open_dict(config):
        del config["hydra"]
    return config


def composed_sweep(
    config_name: str, overrides: Sequence[str] = (), folders: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The configuration of every run of `tlresearch train -m -cn CONFIG_NAME OVERRIDES…`, interpolations resolved.

    Runs that differ in their seed alone are composed once. Raises ConfigError as `compose` does.
    """
    found: list[dict[str, Any]] = []
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    with _told():
        source = loader(folders)
        from hydra_plugins.tlresearch import GridSweeper  # not before: see config.source.install

        given = [quote(o) for o in overrides]
        master = source.load_configuration(config_name, given, RunMode.MULTIRUN, from_shell=False)
        for job in GridSweeper.jobs(master, source):
            seeds = [override for override in job if override.startswith("seed=")]
            rest = tuple(override for override in job if not override.startswith("seed="))
            if rest not in known:
                config = source.load_sweep_config(master, job)
                with open_dict(config):
                    del config["hydra"]
                known[rest] = plain(config)
            own = {"seed": int(seeds[-1].partition("=")[2])} if seeds else {}
            found.append({**known[rest], **own})
    return found


def plain(config: DictConfig) -> dict[str, Any]:
    """Dicts and lists instead of Hydra's own, interpolations resolved."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@contextmanager
def _told() -> Iterator[None]:
    """Hydra's errors that are the user's as ConfigError."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        message = user_error(error)
        if isinstance(error, ConfigError) or message is None:
            raise
        raise ConfigError(message) from error
