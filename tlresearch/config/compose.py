"""From overrides to a checked configuration: `compose` puts it together, `check` finds the user's mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from tlresearch.config import source
from tlresearch.config.check import check as check
from tlresearch.config.errors import ConfigError
from tlresearch.config.messages import user_error as user_error
from tlresearch.config.quoting import quote

VERSION_BASE = "1.3"


def loader() -> ConfigLoaderImpl:
    """Hydra's loader over the shipped YAML and the registry; its global state, which a running job owns, stays out."""
    source.install()
    version.setbase(VERSION_BASE)
    setup_globals()
    return ConfigLoaderImpl(config_search_path=create_config_search_path(None))


def compose(overrides: Sequence[str] = (), config_name: str = "config") -> DictConfig:
    """The configuration that `tlresearch train OVERRIDES…` would run: `compose(["method=[lora]", "seed=1"])`.

    Raises ConfigError for an unknown name or key, a wrong type and whatever else the command line refuses.
    """
    try:
        config = loader().load_configuration(config_name, [quote(o) for o in overrides], RunMode.RUN, from_shell=False)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        message = user_error(error)
        if isinstance(error, ConfigError) or message is None:
            raise
        raise ConfigError(message) from error
    with open_dict(config):
        del config["hydra"]
    return config
