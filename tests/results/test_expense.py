"""Energy from counters that are written here, as Linux writes them."""

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
