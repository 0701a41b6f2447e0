"""Where a backbone is cut, against the network computed by hand."""

import pytest
import torch

from tlresearch.core.prefix import BLOCK, CannotCut, Cut, front_tensors, frozen_depth


def test_the_front_is_skipped_and_the_rest_computed(small_model):
    model = small_model(layers=3).eval()
    backbone, x = model.backbone, torch.randn(5, 4)
    blocks = backbone.blocks()
    expected = blocks[1](blocks[0](x))
    cut = Cut(backbone, 2, [], "key")
    found = cut.compute(backbone, x)
    assert found.keys() == {f"key/{BLOCK}"} == set(cut.names.values())
    torch.testing.assert_close(found[f"key/{BLOCK}"], expected, atol=0, rtol=0)
    plain = model(x)
    model.cut = cut
    torch.testing.assert_close(model(x, found).logits["label"], plain.logits["label"], atol=0, rtol=0)
    other = {f"key/{BLOCK}": expected + 1}
    shifted = blocks[2](expected + 1)
    torch.testing.assert_close(model(x, other).features.pooled, shifted, atol=1e-6, rtol=0)
    torch.testing.assert_close(model(x).logits["label"], plain.logits["label"], atol=0, rtol=0)
    stale = {f"another/{BLOCK}": expected + 1}
    torch.testing.assert_close(model(x, stale).logits["label"], plain.logits["label"], atol=0, rtol=0)


def test_gradients_reach_what_lies_behind_alone(small_model):
    model = small_model(layers=2).eval()
    x = torch.randn(3, 4)
    cut = Cut(model.backbone, 1, [], "key")
    given = {name: a.detach() for name, a in cut.compute(model.backbone, x).items()}
    model.cut = cut
    model(x, given).logits["label"].sum().backward()
    front = front_tensors(model.backbone, 1)
    moved = {name for name, p in model.backbone.named_parameters() if p.grad is not None}
    assert moved and not moved & front.keys()


def test_frozen_depth(small_model):
    backbone = small_model(layers=3).backbone
    assert frozen_depth(backbone) == 0
    for depth, block in enumerate(backbone.blocks()):
        block.requires_grad_(False)
        assert frozen_depth(backbone) == (None if depth == 2 else depth + 1)


def test_blocks_that_are_shared_or_hand_on_more_are_refused(small_model):
    backbone = small_model(layers=2).backbone
    one = backbone.blocks()[0]
    backbone.blocks = lambda: [one, one]
    with pytest.raises(CannotCut, match="shares one block"):
        Cut(backbone, 2, [])


def test_a_block_that_returns_more(small_model):
    backbone = small_model(layers=2).backbone
    block = backbone.blocks()[0]
    forward = block.forward
    block.forward = lambda x: (forward(x), torch.ones(1))
    with pytest.raises(CannotCut, match="return more than their activations"):
        Cut(backbone, 1, []).compute(backbone, torch.randn(2, 4))
