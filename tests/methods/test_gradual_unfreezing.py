"""Which parameters gradual unfreezing moves and when: the blocks themselves, and torch's rule for a plateau."""

import math

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.gradual_unfreezing import GradualUnfreezing, stalls


def moving(model, method, epoch=0, history=()):
    chosen = {id(p) for p in method.trainable(model, Clock(0, epoch, 0, 1, history))}
    return [name for name, p in model.backbone.named_parameters() if id(p) in chosen]


def last_blocks(model, count):
    blocks = model.backbone.blocks()
    wanted = {id(p) for block in blocks[len(blocks) - count :] for p in block.parameters()}
    return [name for name, p in model.backbone.named_parameters() if id(p) in wanted]


@pytest.mark.parametrize("each", [1, 2])
def test_a_block_more_every_so_many_epochs(small_model, each):
    model, method = small_model(layers=3), GradualUnfreezing(epochs_per_block=each)
    for epoch in range(8):
        assert moving(model, method, epoch) == last_blocks(model, min(epoch // each, 3)), epoch


def test_a_plan_that_ends_before_the_first_block(small_model):
    model, method = small_model(layers=3), GradualUnfreezing(blocks=2)
    method.setup(model, Spec("vector", (4,), ()))
    assert [len(moving(model, method, epoch)) // 2 for epoch in range(5)] == [0, 1, 2, 2, 2]


def test_embeddings_join_after_the_first_block_unless_the_plan_names_blocks(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    model = Model(build("backbone", options, spec=Spec("text", None, ())))
    everything = [name for name, _ in model.backbone.named_parameters()]
    assert moving(model, GradualUnfreezing(), 3) == everything
    without = [name for name in everything if "embeddings" not in name]
    assert moving(model, GradualUnfreezing(), 2) == without
    assert moving(model, GradualUnfreezing(blocks=2), 9) == without


VALUES = [0.5, 0.6, 0.6, 0.55, 0.7, 0.7, math.nan, 0.7, 0.69, 0.71, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("metric", ["accuracy", "rmse"])
def test_a_stall_is_torchs_plateau(patience, metric):
    """ReduceLROnPlateau waits for one evaluation more than its patience says; its rate halves where a block thaws."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    mode = {"accuracy": "max", "rmse": "min"}[metric]
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    history, found, expected = [], [], []
    for value in VALUES:
        plateau.step(value)
        history.append({metric: value, "loss": -value})
        found.append(stalls(history, patience))
        expected.append(round(-math.log2(optimizer.param_groups[0]["lr"])))
    assert found == expected and found[-1] > 0


def test_a_block_thaws_where_validation_stalls(small_model):
    model, method = small_model(layers=3), GradualUnfreezing(patience=2)
    history = []
    assert moving(model, method, 7, history) == []
    for value, thawed in zip((0.5, 0.5, 0.5, 0.6, 0.6, 0.6), (0, 0, 1, 1, 1, 2), strict=True):
        history.append({"accuracy": value})
        assert moving(model, method, 7, history) == last_blocks(model, thawed)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"epochs_per_block": 0}, "epochs_per_block"),
        ({"patience": 0}, "patience"),
        ({"patience": 2, "epochs_per_block": 2}, "epochs_per_block"),
        ({"blocks": 0}, "blocks"),
    ],
)
def test_values_out_of_range_are_named(options, key):
    with pytest.raises(ConfigError) as error:
        GradualUnfreezing(**options)
    assert [problem.key for problem in error.value.problems] == [key]


def test_a_plan_longer_than_the_blocks(small_model):
    with pytest.raises(ConfigError, match="blocks: 4: must be at most 3, the blocks of this backbone"):
        GradualUnfreezing(blocks=4).setup(small_model(layers=3), Spec("vector", (4,), ()))
