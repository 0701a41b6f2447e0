"""What every backbone promises: shapes, depths, blocks, and rows that come through all the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tlresearch.backbones.convnet import ConvNet
from tlresearch.backbones.mlp import MLP
from tlresearch.backbones.timm import Timm
from tlresearch.backbones.transformers import Transformers
from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.rows import Row, Rows
from tlresearch.core.types import Spec
from tlresearch.core.weights import Weights

NONE = Weights("none")
GREY = Spec("image", (1, 8, 8), ())
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
TEXTS = ["a good film", "the plot was very dull, not fine at all.", ""]

Make = Callable[[Path], Backbone]
KINDS: dict[str, Make] = {
    "mlp": lambda _: MLP(GREY, NONE, width=16, layers=3),
    "mlp_vector": lambda _: MLP(Spec("vector", (5,), ()), NONE, width=16),
    "convnet": lambda _: ConvNet(GREY, NONE, width=8),
    "timm_cnn": lambda _: Timm(GREY, NONE, model="test_resnet", image_size=32),
    "timm_head": lambda _: Timm(GREY, NONE, model="mobilenetv3_small_050", image_size=32),
    "timm_nhwc": lambda _: Timm(
        GREY,
        NONE,
        model="swin_tiny_patch4_window7_224",
        image_size=32,
        arguments={"embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 1, 1), "window_size": 2},
    ),
    "timm_vit": lambda _: Timm(GREY, NONE, model="vit_tiny_patch16_224", arguments=VIT),
    "bert": lambda folder: Transformers(Spec("text", None, ()), NONE, model=f"path:{folder}"),
}


@pytest.fixture(params=KINDS)
def backbone(request: pytest.FixtureRequest, tiny_bert_folder: Path) -> Backbone:
    torch.manual_seed(0)
    return KINDS[request.param](tiny_bert_folder)


def rows(backbone: Backbone) -> list[Row]:
    inputs: Any = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    if isinstance(backbone, Transformers):
        inputs = TEXTS
    elif isinstance(backbone, MLP) and not backbone.image:
        inputs = torch.randn(3, 5)
    table = Rows(inputs, {"task": torch.tensor([0, 1, 2])})
    return [table[i] for i in range(3)]


def features(backbone: Backbone, table: list[Row]) -> Any:
    preprocess = backbone.preprocess("test")
    batch = backbone.collate([preprocess(row) for row in table])
    return backbone(backbone.transform(batch.x, "test"))


def test_rows_become_features_of_the_promised_width(backbone: Backbone) -> None:
    backbone.eval()
    out = features(backbone, rows(backbone))
    assert out.pooled.shape == (3, backbone.feature_dim)
    assert out.pooled.isfinite().all()
    assert not torch.allclose(out.pooled[0], out.pooled[1])
    if out.tokens is not None:
        assert out.tokens.ndim == 3 and out.tokens.shape[::2] == (3, backbone.feature_dim)
    if out.mask is not None:
        assert out.mask.dtype == torch.bool and out.mask.shape == out.tokens.shape[:2]


def test_rows_do_not_depend_on_their_batch(backbone: Backbone) -> None:
    backbone.eval()
    table = rows(backbone)
    together = features(backbone, table).pooled
    alone = torch.cat([features(backbone, [row]).pooled for row in table])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_has_one_depth_and_every_block_one(backbone: Backbone) -> None:
    depths, blocks = backbone.depths(), backbone.blocks()
    names = {id(p): n for n, p in backbone.named_parameters()}
    assert set(depths) == set(names.values())
    assert len(blocks) >= 2
    assert set(depths.values()) - {0} == set(range(1, len(blocks) + 1))
    seen = set[int]()
    for i, block in enumerate(blocks):
        assert {depths[names[id(p)]] for p in block.parameters()} == {i + 1}
        assert not seen & {id(p) for p in block.parameters()}
        seen |= {id(p) for p in block.parameters()}
    assert backbone.depth(next(iter(depths))) == depths[next(iter(depths))]


def test_blocks_run_from_shallow_to_deep(backbone: Backbone) -> None:
    order: list[int] = []
    for i, block in enumerate(backbone.blocks()):
        block.register_forward_hook(lambda *_, i=i: order.append(i))
    backbone.eval()
    features(backbone, rows(backbone))
    assert order == list(range(len(backbone.blocks())))


def test_what_is_deeper_than_a_block_does_not_reach_it(backbone: Backbone) -> None:
    """An oracle for depths: only parameters of depth 0 and 1 can change what the first block gives out."""
    depths, table = backbone.depths(), rows(backbone)
    outputs: list[Tensor] = []
    backbone.blocks()[0].register_forward_hook(lambda _module, _inputs, out: outputs.append(_first(out).clone()))
    backbone.eval()
    for lowest in (100, 2, 0):
        with torch.no_grad():
            for name, parameter in backbone.named_parameters():
                if depths[name] >= lowest:
                    parameter.mul_(1.5)
            features(backbone, table)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def test_the_same_seed_gives_the_same_weights_and_no_weights_mean_nothing_is_kept(
    backbone: Backbone, request: pytest.FixtureRequest, tiny_bert_folder: Path
) -> None:
    torch.manual_seed(0)
    again = KINDS[request.node.callspec.params["backbone"]](tiny_bert_folder)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))
    assert backbone.fresh is None and backbone.pretrained_head is None


def test_wrong_values_are_refused_by_key(tiny_bert_folder: Path) -> None:
    text, folder = Spec("text", None, ()), f"path:{tiny_bert_folder}"
    cases: list[tuple[str, Callable[[], Backbone]]] = [
        ("width", lambda: MLP(GREY, NONE, width=0)),
        ("layers", lambda: MLP(GREY, NONE, layers=0)),
        ("dropout", lambda: MLP(GREY, NONE, dropout=1.0)),
        ("image_size", lambda: MLP(Spec("vector", (5,), ()), NONE, image_size=8)),
        ("image_size", lambda: ConvNet(Spec("image", None, ()), NONE)),
        ("image_size", lambda: ConvNet(GREY, NONE, image_size=0)),
        ("width", lambda: ConvNet(GREY, NONE, width=0)),
        ("layers", lambda: ConvNet(GREY, NONE, layers=0)),
        ("random_crop", lambda: ConvNet(GREY, NONE, random_crop=8)),
        ("weights", lambda: ConvNet(GREY, Weights("hub"))),
        ("model", lambda: Timm(GREY, NONE, model="resnet19")),
        ("model", lambda: Timm(GREY, NONE, model="resnet18.no_such_tag")),
        ("image_size", lambda: Timm(GREY, NONE, model="test_vit", image_size=32, arguments={"img_size": 16})),
        ("mean", lambda: Timm(GREY, NONE, model="test_resnet", mean=[0.5])),
        ("std", lambda: Timm(GREY, NONE, model="test_resnet", std=[0.5, 0.5, 0.0])),
        ("augment", lambda: Timm(GREY, NONE, model="test_resnet", augment="crop")),  # type: ignore[arg-type]
        ("arguments", lambda: Timm(GREY, NONE, model="test_resnet", arguments={"num_classes": 3})),
        ("arguments", lambda: Timm(GREY, NONE, model="test_resnet", arguments={"no_such": 3})),
        ("arguments.in_chans", lambda: Timm(GREY, NONE, model="test_resnet", arguments={"in_chans": 4})),
        ("model", lambda: Transformers(text, NONE)),
        ("model", lambda: Transformers(text, NONE, model="path:/no/such/folder")),
        ("model", lambda: Transformers(text, NONE, model=f"path:{tiny_bert_folder.parent}")),
        ("arguments", lambda: Transformers(text, NONE, model=folder, arguments={"no_such": 1})),
        ("max_length", lambda: Transformers(text, NONE, model=folder, max_length=2)),
        ("max_length", lambda: Transformers(text, NONE, model=folder, max_length=129)),
        ("weights", lambda: Transformers(text, Weights("path", str(tiny_bert_folder / "config.json")))),
    ]
    for key, make in cases:
        with pytest.raises(ConfigError) as caught:
            make()
        assert [problem.key for problem in caught.value.problems] == [key], caught.value
