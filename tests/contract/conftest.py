"""Fixtures of the kit; the kit's toys are registered while its tests run, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import places, registered
from .harness import Kit


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "an option for a plugin that the kit cannot guess: dataset.path=FILE, method.NAME.OPTION=VALUE"
    parser.addoption("--override", action="append", default=[], metavar="KEY=VALUE", help=help_text)


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Kit:
    """Makes plugins and small runs."""
    made = places.make(tmp_path_factory.mktemp("contract_places"))
    return Kit(tmp_path_factory.mktemp("contract_runs"), made, request.config.getoption("--override", default=[]))


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered.fixtures():
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
