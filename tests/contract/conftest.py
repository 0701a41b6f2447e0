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
def _fitting(request: pytest.FixtureRequest, _toys: None) -> None:
    """What a network's data or weights cannot serve, a method refuses by name, and is not tried there."""
    values = getattr(request.node, "callspec", None)
    if values is None or not {"method", "net"} <= values.params.keys():
        return
    kit, method = request.getfixturevalue("kit"), values.params["method"]
    refusal = kit.refusal(values.params["net"], method)
    if refusal:
        assert f"method.{method}" in refusal and f"'{method}'" in refusal, f"refused, and not by name: {refusal}"
        pytest.skip(refusal)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
