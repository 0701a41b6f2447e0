"""Fixtures of the kit; the kit's toys are registered while its tests run, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import registered
from .harness import NETS, Kit
from .places import Places

HOME = "home"
"""Stands for the network of `Kit.home`."""

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The networks of a test of a method: the one it is at home on; all where few methods are tried, or by mark."""
    given = {mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")}
    if "net" in metafunc.fixturenames and "net" not in given:
        every = [pytest.param(net, marks=pytest.mark.matrix) for net in NETS]
        chosen = list(NETS) if metafunc.config.getoption("--only", default=[]) else [HOME, *every]
        metafunc.parametrize("net", chosen, indirect=True)


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Kit:
    """Makes plugins and small runs."""
    places = Places(tmp_path_factory.mktemp("contract_places"))
    return Kit(tmp_path_factory.mktemp("contract_runs"), places, request.config.getoption("--override", default=[]))


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered.fixtures():
        yield


@pytest.fixture
def net(_toys: None, kit: Kit, request: pytest.FixtureRequest) -> str:
    """A network that a method refuses has one test: that of the refusal."""
    name, method = str(request.param), str(request.node.callspec.params["method"])
    if name == HOME:
        return kit.home(method)
    if kit.refusal(name, method):
        pytest.skip(kit.refusal(name, method))
    return name


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
