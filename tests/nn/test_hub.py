"""The hub is asked once; where it is silent, the local cache is all there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import huggingface_hub
import pytest
from huggingface_hub import constants

from tlresearch.config.errors import ConfigError, fail
from tlresearch.nn.hub import hub


class Session:
    """Stands in for the hub's client; counts the questions."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer, self.asked = answer, 0

    def head(self, address: str, timeout: float) -> Any:
        self.asked += 1
        assert address == constants.ENDPOINT and timeout <= 5
        return self.answer()


def silent() -> NoReturn:
    raise ConnectionError("no route")


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def session(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> Session:
    found = Session(answer)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: found)
    return found


def test_a_silent_hub_leaves_the_cache_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = session(monkeypatch, silent)
    with hub("weights", "some/model"):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False
    message = r"weights: 'some/model': .*no route.*path:FILE-OR-FOLDER, or none"
    with pytest.raises(ConfigError, match=message), hub("weights", "some/model"):
        raise OSError("not in the cache")
    assert constants.HF_HUB_OFFLINE is False and asked.asked == 2


def test_a_hub_that_answers_is_used_and_its_own_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, lambda: None)
    with hub("model", "some/model"):
        assert constants.HF_HUB_OFFLINE is False
    message = r"model: 'some/model': no such repository; try package:NAME"
    with pytest.raises(ConfigError, match=message), hub("model", "some/model"):
        raise OSError("no such repository\nand much more")


def test_mistakes_of_another_kind_pass_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, silent)
    with pytest.raises(ConfigError, match=r"^arguments: 3: must be 4$"), hub("model", "some/model"):
        fail("arguments", 3, "must be 4")
    with pytest.raises(ZeroDivisionError), hub("model", "some/model"):
        _ = 1 / 0


def test_offline_by_choice_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = session(monkeypatch, silent)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"), hub("weights", "some/model"):
        raise OSError
    assert asked.asked == 0
