"""Which parameters partial fine-tuning and gradual unfreezing move, against the blocks themselves."""

import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.gradual_unfreezing import GradualUnfreezing
from tlresearch.methods.partial import Partial


def moving(model, method, epoch=0):
    chosen = {id(p) for p in method.trainable(model, Clock(0, epoch, 0, 1, {}))}
    return [name for name, p in model.backbone.named_parameters() if id(p) in chosen]


def of_blocks(model, numbers):
    blocks = model.backbone.blocks()
    wanted = {id(p) for i in numbers for p in blocks[i].parameters()}
    return [name for name, p in model.backbone.named_parameters() if id(p) in wanted]


@pytest.mark.parametrize("blocks", range(4))
def test_the_last_blocks_move(small_model, blocks):
    model = small_model(layers=3)
    assert moving(model, Partial(blocks=blocks)) == of_blocks(model, range(3 - blocks, 3))


def test_more_blocks_than_there_are(small_model):
    with pytest.raises(ConfigError, match="blocks: 4: must be at most 3, the blocks of this backbone"):
        Partial(blocks=4).setup(small_model(layers=3), Spec("vector", (4,), ()))
    with pytest.raises(ConfigError, match="at least 0"):
        Partial(blocks=-1)


@pytest.mark.parametrize("each", [1, 2])
def test_a_block_more_every_so_many_epochs(small_model, each):
    model, method = small_model(layers=3), GradualUnfreezing(epochs_per_block=each)
    for epoch in range(8):
        thawed = min(epoch // each, 3)
        assert moving(model, method, epoch) == of_blocks(model, range(3 - thawed, 3)), epoch


def test_stem_and_final_norm(tiny_bert_folder):
    from tlresearch.config.build import build
    from tlresearch.core.model import Model

    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    backbone = build("backbone", options, spec=Spec("text", None, ()))
    model = Model(backbone)
    assert all("encoder.layer.1." in name for name in moving(model, Partial(blocks=1)))
    everything = [name for name, _ in backbone.named_parameters()]
    assert moving(model, GradualUnfreezing(), 3) == everything, "embeddings join after the first block"
    assert moving(model, GradualUnfreezing(), 2) == [name for name in everything if "embeddings" not in name]
