"""Which parameters surgical fine-tuning moves, against the blocks themselves."""

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.surgical import Surgical

VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    options = {"name": "timm", "model": "vit_tiny_patch16_224", "arguments": VIT}
    return Model(build("backbone", options, spec=Spec("image", (3, 16, 16), ())))


def moving(model, *blocks):
    method = Surgical(blocks=list(blocks))
    method.setup(model, Spec("image", (3, 16, 16), ()))
    chosen = {id(p) for p in method.trainable(model, Clock(0, 0, 0, 1, ()))}
    return {name for name, p in model.backbone.named_parameters() if id(p) in chosen}


def of_block(model, number):
    wanted = {id(p) for p in model.backbone.blocks()[number].parameters()}
    return {name for name, p in model.backbone.named_parameters() if id(p) in wanted}


def test_blocks_by_position_from_either_side(vit):
    assert moving(vit, "0") == moving(vit, "-3") == of_block(vit, 0)
    assert moving(vit, "1", "-1") == of_block(vit, 1) | of_block(vit, 2)


def test_blocks_by_name_are_those_of_that_name(vit):
    names = {id(module): name for name, module in vit.backbone.named_modules()}
    assert moving(vit, names[id(vit.backbone.blocks()[1])]) == of_block(vit, 1)


def test_stem_blocks_and_end_are_all_there_is(vit):
    everything = {name for name, _ in vit.backbone.named_parameters()}
    stem, end, blocks = moving(vit, "stem"), moving(vit, "end"), moving(vit, "0", "1", "2")
    assert stem | blocks | end == everything and len(stem) + len(blocks) + len(end) == len(everything)
    assert any("patch_embed" in name for name in stem) and all("norm" in name for name in end)


@pytest.mark.parametrize(
    ("blocks", "parts"),
    [
        (["3"], ["'3'", "from -3 to 2"]),
        (["-4"], ["'-4'", "from -3 to 2"]),
        (["steem"], ["'steem'", "did you mean 'stem'?"]),
        (["0", "-3"], ["twice"]),
        (["stem", "0", "1", "2", "end"], ["whole backbone", "finetune"]),
    ],
)
def test_what_does_not_fit_is_refused(vit, blocks, parts):
    with pytest.raises(ConfigError) as error:
        moving(vit, *blocks)
    assert error.value.problems[0].key == "blocks"
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_part_without_parameters_and_no_block_at_all(small_model):
    with pytest.raises(ConfigError, match="blocks: 'stem': this backbone has no parameters there"):
        moving(small_model(), "stem")
    with pytest.raises(ConfigError, match="the whole backbone"):
        moving(small_model(layers=2), "0", "1")
    with pytest.raises(ConfigError, match="at least one block"):
        Surgical(blocks=[])
