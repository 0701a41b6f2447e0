"""What runs cost: energy from counters written here as Linux writes them, and seconds of training."""

import pytest
import torch

from tlresearch.results.expense import Energy, peak_device_memory


@pytest.fixture
def counter(tmp_path):
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "max_energy_range_uj").write_text("10000000\n")

    def write(microjoules):
        (package / "energy_uj").write_text(f"{microjoules}\n")
        return tmp_path

    return write


def test_joules_are_the_difference_and_a_counter_may_turn_once(counter):
    energy = Energy(torch.device("cpu"), counter(4_000_000))
    counter(9_000_000)
    assert energy.joules() == {"energy_joules_cpu": 5.0}
    counter(1_000_000)  # 6 J to the end of the range, 1 J beyond
    assert energy.joules() == {"energy_joules_cpu": 7.0}


def test_nothing_is_reported_where_nothing_counts(counter, tmp_path):
    assert Energy(torch.device("cpu"), tmp_path / "none").joules() == {}
    energy = Energy(torch.device("cpu"), counter("not a number"))
    assert energy.joules() == {}
    assert peak_device_memory(torch.device("cpu")) == {}


def test_seconds_of_training_include_waiting_and_features(write, compared, report):
    for seed, features in enumerate((3.0, 0.0)):  # the second run finds what the first has computed
        cost = {"seconds_train": 2.0, "seconds_wait": 0.5, "seconds_features": features, "seconds_evaluate": 9.0}
        write(seed=seed, cost=cost)
    (group,) = compared()["groups"]
    assert group["cost"]["seconds_training"] == pytest.approx((5.5 + 2.5) / 2)
    header, line = (row.split("  ") for row in report()[1].splitlines()[1:3])
    assert "4.0" in line and "train s" in header
