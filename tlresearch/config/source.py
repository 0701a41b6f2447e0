"""Answers Hydra's questions for the groups: which plugins there are (tlr://) and what options each one takes."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlresearch.config import registry, schema, shortcuts
from tlresearch.config.errors import ConfigError
from tlresearch.config.settings import Settings

SETTINGS = "settings"
CLAIMS = "claim"


class RegistrySource(ConfigSource):
    """The registry as a Hydra config source: a group for each kind, a config for each plugin, and `settings`."""

    @staticmethod
    def scheme() -> str:
        """What an address of this source begins with."""
        return "tlr"

    def available(self) -> bool:
        """Always: the registry is there wherever the package is."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether the path names a kind of plugin, or is the root."""
        return config_path.rstrip("/") in ("", *registry.KINDS)

    def is_config(self, config_path: str) -> bool:
        """Whether the path names a plugin, or `settings` at the root."""
        kind, name = self._parts(config_path)
        return (kind, name) in registry.index() if kind else name == SETTINGS

    def load_config(self, config_path: str) -> ConfigResult:
        """The options of one plugin with their defaults, or the settings."""
        kind, name = self._parts(config_path)
        path = f"tlr://{config_path}"
        if not kind:
            return ConfigResult("tlr", path, open_tables(OmegaConf.structured(Settings)), {"package": None})
        node = plugin_config(kind, name)
        return ConfigResult("tlr", path, node, {"package": None})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The kinds, and the plugins of a kind, that Hydra asks for."""
        kind = config_path.rstrip("/")
        if not kind:
            groups = [] if results_filter == ObjectType.CONFIG else list(registry.KINDS)
            return sorted(groups if results_filter == ObjectType.GROUP else [*groups, SETTINGS])
        return [] if results_filter == ObjectType.GROUP else registry.names(kind)

    def _parts(self, config_path: str) -> tuple[str, str]:
        kind, _, name = self._normalize_file_name(config_path).removesuffix(".yaml").rpartition("/")
        return kind, name


class ShippedSource(FileConfigSource):
    """A folder of shipped YAML without `claim/`: claims are no part of a run's configuration."""

    @staticmethod
    def scheme() -> str:
        """What an address of this source begins with."""
        return "shipped"

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Folders and files, as of any folder."""
        found = super().list(config_path, results_filter)
        return [name for name in found if config_path or name != CLAIMS]


class RegistrySearchPath(SearchPathPlugin):
    """Puts the shipped YAML (conf/, sweeps/) and the registry on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends the shipped folders, then the registry."""
        for name in ("conf", "sweeps"):
            search_path.append(f"tlresearch.{name}", f"shipped://{registry.shipped(name)}")
        search_path.append("tlresearch", "tlr://")


def plugin_config(kind: str, name: str) -> DictConfig:
    """The typed configuration of one plugin; `{lora: …}` for kinds of which several are chosen."""
    entry = registry.find(kind, name)
    try:
        node = open_tables(OmegaConf.structured(schema.structured(entry)))
    except OmegaConfBaseException as error:
        reason = str(error.msg).splitlines()[0]
        message = f"{kind} {name!r}: default of {error.full_key!r} does not fit its annotation: {reason}"
        raise ConfigError(f"{message} ({entry.file}:{entry.line})") from error
    if not registry.KINDS[kind].multiple:
        return node
    parent = OmegaConf.create({})
    parent._set_item_impl(name, node)  # a plain assignment would do; this keeps the node's type without a copy
    return parent


def open_tables(config: DictConfig) -> DictConfig:
    """Lets dict-valued options take new keys (`heads.TASK=…`), while groups and options stay closed."""
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict and name not in registry.KINDS:
            OmegaConf.set_struct(node, False)
    return config


def install() -> None:
    """Makes Hydra know source, search path and sweeper, and compose once; a second call changes nothing."""
    for plugin in (RegistrySource, ShippedSource, RegistrySearchPath):
        Plugins.instance().register(plugin)
    from hydra_plugins.tlresearch import install_sweeper  # not before: Hydra's first look loads the classes below anew
    from hydra_plugins.tlresearch.fused import install_launcher

    install_sweeper()
    install_launcher()
    shortcuts.install()


def sweep_folder(launcher: str, store: str) -> str:
    """Where a launcher keeps its files: temporary on one machine, below the store for the nodes of a cluster."""
    if not any(local in launcher for local in ("basic_launcher", "joblib", "fused")):
        return str(Path(store).absolute() / ".sweeps" / time.strftime("%Y-%m-%d_%H-%M-%S"))
    folder, owner = tempfile.mkdtemp(prefix="tlresearch_sweep_"), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return folder


# Needed wherever a launcher unpickles a job: its process imports this module before it resolves the configuration.
OmegaConf.register_new_resolver("tlresearch_sweep_folder", sweep_folder, use_cache=True, replace=True)
