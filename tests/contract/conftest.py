"""Fixtures of the kit; the kit's toys are registered while its tests run, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import registered
from .harness import Kit
from .places import Places

MARKERS = (
    "slow: takes more than a few seconds",
    "matrix: the full matrix of methods and networks",
    "about(*subjects): the (kind, name) of every plugin that a test is about",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:  # the kit runs from a wheel, too, where no setup.cfg names them
        config.addinivalue_line("markers", marker)


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "an option for a plugin that the kit cannot guess: dataset.path=FILE, method.NAME.OPTION=VALUE"
    parser.addoption("--override", action="append", default=[], metavar="KEY=VALUE", help=help_text)
    parser.addoption("--only", action="append", default=[], metavar="KIND.NAME", help="tests about this plugin alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only = {tuple(plugin.split(".", 1)) for plugin in config.getoption("--only", default=[])}
    if only:
        kept = [item for item in items if only & {s for mark in item.iter_markers("about") for s in mark.args}]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Kit:
    """Makes plugins and small runs."""
    places = Places(tmp_path_factory.mktemp("contract_places"))
    return Kit(tmp_path_factory.mktemp("contract_runs"), places, request.config.getoption("--override", default=[]))


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered.fixtures():
        yield


@pytest.fixture(autouse=True)
def _fits(_toys: None, kit: Kit, request: pytest.FixtureRequest) -> None:
    """A network that a method refuses has one test: that of the refusal."""
    given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if isinstance(given.get("method"), str) and isinstance(given.get("net"), str):
        refusal = kit.refusal(given["net"], given["method"])
        if refusal:
            pytest.skip(refusal)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
