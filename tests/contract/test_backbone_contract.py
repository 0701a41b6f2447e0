"""Every registered backbone, on toy data of every modality that it reads."""

import torch
from torch import Tensor, nn

from tlresearch.config.registry import load
from tlresearch.core.head import FIXED_POOLINGS, pool
from tlresearch.training.checkpoint import load_model

from . import registered
from .harness import Kit, same, tensors

TOYS = {"image": "contract_images", "text": "contract_texts", "vector": "contract_vectors"}
every_backbone = registered.every("backbone")


def each(kit: Kit, name: str, seed: int = 0):
    """(backbone, rows) for every modality."""
    modalities = load("backbone", name).modalities
    assert modalities, f"backbone {name!r} reads nothing: `modalities` is empty"
    assert modalities <= TOYS.keys(), f"the kit has no toy data of {modalities - TOYS.keys()}"
    for modality in sorted(modalities):
        stream = kit.build("dataset", TOYS[modality]).stream()
        torch.manual_seed(seed)
        reading = registered.reading(name, modality, kit.places)
        yield kit.build("backbone", name, at=reading, spec=stream.spec).eval(), stream.stages[0].train


def batch(backbone, rows, chosen, split="test"):
    preprocess = backbone.preprocess(split)
    return backbone.collate([preprocess(rows[i]) for i in chosen])


@every_backbone
def test_blocks_are_ordered_and_every_parameter_has_one_depth(kit: Kit, name: str) -> None:
    for backbone, rows in each(kit, name):
        blocks = backbone.blocks()
        assert blocks and all(isinstance(block, nn.Module) for block in blocks)
        inside = [{id(p) for p in block.parameters()} for block in blocks]
        for i, own in enumerate(inside):
            assert own, f"block {i} has no parameters"
            assert not any(own & other for other in inside[i + 1 :]), f"block {i} shares parameters"
        named = dict(backbone.named_parameters())
        depths = backbone.depths()
        assert depths.keys() == named.keys()
        assert all(0 <= depth <= len(blocks) for depth in depths.values())
        assert all(depths[n] == i + 1 for i, own in enumerate(inside) for n, p in named.items() if id(p) in own)
        assert all(backbone.depth(n) == depth for n, depth in depths.items())
        called: list[int] = []
        for i, block in enumerate(blocks):
            block.register_forward_hook(lambda *_, i=i, called=called: called.append(i))
        backbone(backbone.transform(batch(backbone, rows, range(2)).x, "test"))
        assert list(dict.fromkeys(called)) == list(range(len(blocks))), "blocks are not in the order of the pass"


@every_backbone
def test_rows_become_features(kit: Kit, name: str) -> None:
    for backbone, rows in each(kit, name):
        made = batch(backbone, rows, range(5))
        assert made.rows == 5 and made.index.tolist() == rows.index[:5].tolist()
        assert torch.equal(made.y["shape"], rows.labels["shape"][:5])
        features = backbone(backbone.transform(made.x, "test"))
        assert features.pooled.shape == (5, backbone.feature_dim)
        assert features.pooled.isfinite().all()
        if features.tokens is not None:
            assert features.tokens.shape[::2] == (5, backbone.feature_dim)
            assert features.mask is None or features.mask.shape == features.tokens.shape[:2]
            assert all(pool(features, how).pooled.shape == features.pooled.shape for how in FIXED_POOLINGS)
        backbone.train()
        trained = backbone(backbone.transform(made.x, "train")).pooled
        trained.square().sum().backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


@every_backbone
def test_preprocessing_is_a_function_of_the_row(kit: Kit, name: str) -> None:
    for backbone, rows in each(kit, name):
        for split in ("train", "test"):
            first, second = (batch(backbone, rows, range(4), split) for _ in range(2))
            same(named(first.x), named(second.x))
            assert all(t.device.type == "cpu" for t in named(first.x).values())


@every_backbone
def test_padding_and_neighbours_do_not_move_a_row(kit: Kit, name: str) -> None:
    for backbone, rows in each(kit, name):
        together = backbone(backbone.transform(batch(backbone, rows, range(6)).x, "test")).pooled
        for i in range(6):
            alone = backbone(backbone.transform(batch(backbone, rows, [i]).x, "test")).pooled
            torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


@every_backbone
def test_joined_batches_answer_like_their_parts(kit: Kit, name: str) -> None:
    for backbone, rows in each(kit, name):
        parts = [batch(backbone, rows, chosen) for chosen in (range(3), range(3, 8), [8])]
        joined = backbone.join(parts)
        assert joined.index.tolist() == rows.index[:9].tolist()
        assert torch.equal(joined.y["shape"], rows.labels["shape"][:9])
        apart = torch.cat([backbone(backbone.transform(part.x, "test")).pooled for part in parts])
        whole = backbone(backbone.transform(joined.x, "test")).pooled
        torch.testing.assert_close(whole, apart, rtol=1e-4, atol=1e-5)


@every_backbone
def test_its_state_brings_it_back_under_another_seed(kit: Kit, name: str) -> None:
    for (first, rows), (second, _) in zip(each(kit, name, 0), each(kit, name, 1), strict=True):
        with torch.no_grad():
            for parameter in first.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        assert not torch.equal(next(first.parameters()), next(second.parameters()))
        load_model(second, first.state_dict())  # the names and shapes are all that it goes by
        same(tensors(first), tensors(second))
        x = batch(first, rows, range(4)).x
        outs = [backbone(backbone.transform(x, "test")).pooled for backbone in (first, second)]
        assert torch.equal(*outs)


@every_backbone
def test_what_its_weights_did_not_provide_is_named(kit: Kit, name: str) -> None:
    for (first, _), (second, _) in zip(each(kit, name, 0), each(kit, name, 1), strict=True):
        if first.fresh is None:
            continue
        state = first.state_dict()
        assert first.fresh <= state.keys()
        provided = [key for key in state if key not in first.fresh]
        assert provided and all(torch.equal(state[key], second.state_dict()[key]) for key in provided)


def named(x) -> dict[str, Tensor]:
    return x if isinstance(x, dict) else {"": x}
