"""The time and the money that a command may spend."""

import pickle

import pytest

from tlresearch.config import budget
from tlresearch.config.budget import STARTED, Budget, Spent, usd
from tlresearch.config.errors import ConfigError


@pytest.fixture
def clock(monkeypatch):
    """What the time is; begins at 100 s."""

    class Clock:
        now = 100.0

        def time(self):
            return self.now

    monkeypatch.setattr(budget, "time", Clock())
    monkeypatch.delenv(STARTED, raising=False)
    return budget.time


def config(seconds=None, dollars=None, price=None, gpu=None, **more):
    prices = {"usd_per_cpu_hour": price, "usd_per_gpu_hour": gpu}
    machine = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, **more}
    return {"budget": {"seconds": seconds, "usd": dollars}, "prices": prices, **machine}


@pytest.mark.parametrize(
    ("given", "length"),
    [
        ({"seconds": 30}, 30),
        ({"dollars": 2, "price": 360}, 20),
        ({"seconds": 30, "dollars": 2, "price": 360}, 20),
        ({"seconds": 10, "dollars": 2, "price": 360}, 10),
    ],
)
def test_the_tighter_limit_ends_it(clock, given, length):
    found = Budget(config(**given))
    clock.now += length - 0.5
    assert not found.spent()
    found.check()
    clock.now += 0.5
    assert found.spent()
    with pytest.raises(Spent, match=r"is used up: not started; the same command with a new budget goes on"):
        found.check()


def test_without_a_budget_it_never_ends(clock):
    found = Budget(config(price=3))
    clock.now = 1e12
    assert not found.spent()


def test_time_runs_from_the_start_of_the_command_not_of_the_job(clock, monkeypatch):
    monkeypatch.setenv(STARTED, budget.start())
    clock.now += 40
    assert Budget(config(seconds=40)).spent()
    assert not Budget(config(seconds=41)).spent()


def test_what_ends_a_run_comes_whole_out_of_another_process():
    found = pickle.loads(pickle.dumps(Budget(config(seconds=3)).error(started=True)))
    assert found.started
    assert str(found).startswith("budget.seconds=3 is used up: the run was stopped and saved; ")


def test_costs_are_time_times_price():
    assert usd(config(price=1.5, gpu=4), 7200, "cpu") == {"usd": 3.0}
    assert usd(config(price=1.5, gpu=4), 7200, "cuda") == {"usd": 8.0}
    assert usd(config(price=1.5), 7200, "cuda") == {}
    assert usd(config(), 7200, "cpu") == {}


def test_gpus_count_one_by_one_and_cpus_by_the_machine():
    assert usd(config(price=2, gpu=3), 3600, "cuda", 4) == {"usd": 12.0}
    assert usd(config(price=2, gpu=3), 3600, "cpu", 4) == {"usd": 2.0}
    assert usd(config(price=2, num_nodes=3), 3600, "cpu", 6) == {"usd": 6.0}


def test_a_budget_goes_by_the_price_of_the_device_that_will_be_used(clock):
    given = {"dollars": 2, "price": 360, "gpu": 720}
    ends = {20: {"accelerator": "cpu", "devices": 4}, 5: {"accelerator": "cuda", "devices": 2}}
    for seconds, machine in ends.items():
        clock.now = 100.0
        found = Budget(config(**given, **machine))
        clock.now += seconds - 0.5
        assert not found.spent()
        clock.now += 0.5
        assert found.spent()


def test_what_a_machine_finds_by_itself_needs_its_own_price(monkeypatch):
    import torch

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    message = r"budget\.usd: 2: this machine computes on cuda; give prices.usd_per_gpu_hour"
    with pytest.raises(ConfigError, match=message):
        Budget(config(dollars=2, price=1, accelerator="auto"))
    assert not Budget(config(dollars=2, gpu=1, accelerator="auto")).spent()
