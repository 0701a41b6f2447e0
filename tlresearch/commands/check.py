"""`tlresearch check NAME_OR_FILE`: runs the contract kit on one plugin."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from tlresearch.config import registry
from tlresearch.config.errors import ConfigError, nearest
from tlresearch.config.reader import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plugin", metavar="NAME_OR_FILE", help="a plugin that `tlresearch list` names, or its file")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="options that the kit cannot guess: dataset.path=FILE"
    )
    parser.add_argument("--all", action="store_true", help="also what is slow: two processes, all networks")


def main(arguments: argparse.Namespace) -> int:
    """0 where every contract is kept, 1 where one is broken; raises ConfigError for a plugin that does not exist."""
    try:
        import pytest
    except ImportError as error:
        raise ConfigError("the contract kit runs on pytest, missing here: pip install 'tlresearch[test]'") from error
    for override in arguments.overrides:
        if "=" not in override:
            raise ConfigError(f"{override!r}: must be KEY=VALUE, such as dataset.path=FILE")
    entries = _entries(arguments.plugin)
    for entry in entries:
        if not entry.kind:  # no contract is about it
            raise ConfigError(f"{entry.error} ({entry.file}:{entry.line})")
    only = [f"--only={entry.kind}.{entry.name}" for entry in entries]
    given = [f"--override={override}" for override in arguments.overrides]
    chosen = [] if arguments.all else ["-m", "not slow and not matrix"]
    own = ["--import-mode=importlib", "--config-file", os.devnull, f"--rootdir={_kit()}", "-p", "no:cacheprovider"]
    return int(pytest.main([str(_kit()), "-q", "--tb=short", *own, *chosen, *only, *given]) != pytest.ExitCode.OK)


def _entries(plugin: str) -> list[Entry]:
    """The plugins of that name, of whatever kind, or of that file, which need not lie where plugins are looked for."""
    file = Path(plugin)
    if file.suffix != ".py":
        found = [entry for (_, name), entry in sorted(registry.index().items()) if name == plugin]
        if not found:
            raise ConfigError(f"unknown plugin {plugin!r}; {nearest(plugin, {name for _, name in registry.index()})}")
        return found
    if not file.is_file():
        raise ConfigError(f"{plugin!r}: no such file")
    found = _within(file)
    if not found:
        others = os.environ.get(registry.ENVIRONMENT)
        os.environ[registry.ENVIRONMENT] = os.pathsep.join(filter(None, (str(file.absolute()), others)))
        found = _within(file)
    if not found:
        raise ConfigError(f'{plugin!r} registers no plugin; write @register("method", "NAME") above its class')
    return found


def _within(file: Path) -> list[Entry]:
    return [entry for _, entry in sorted(registry.index().items()) if Path(entry.file).resolve() == file.resolve()]


def _kit() -> Path:
    """The folder of the kit: part of the installed package, or tests/contract of a checkout."""
    spec = find_spec("tlresearch.contract")
    return Path(spec.origin).parent if spec and spec.origin else registry.PACKAGE.parent / "tests" / "contract"
