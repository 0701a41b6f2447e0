"""What a prediction takes, in the record of a run."""

import pytest

import tlresearch

pytestmark = pytest.mark.usefixtures("forgotten")

LAYERS = [64 * 256, 256 * 256, 256 * 10]
"""Weights of the matrices of the default multilayer perceptron on 8 × 8 digits and its linear head."""


@pytest.fixture
def cost(tmp_path):
    def call(*overrides):
        given = ["backbone=mlp", "backbone.width=256", "backbone.layers=2", "steps=2", "progress=false"]
        return tlresearch.run([*given, f"store={tmp_path}", *overrides]).cost

    return call


def test_a_prediction_is_timed_alone_and_among_64_and_counted_by_hand(cost):
    first = cost()
    assert first["flops_per_prediction"] == 2 * sum(LAYERS)
    assert 0 < first["seconds_per_prediction_of_64"] < first["seconds_per_prediction"]


def test_runs_of_one_network_share_a_measurement_and_say_so(cost):
    cost()
    second = cost("seed=1")
    assert second["latency_shared"] is True
    other = cost("backbone.layers=1")
    assert other["latency_shared"] is False
    assert other["flops_per_prediction"] == 2 * (LAYERS[0] + LAYERS[2])
