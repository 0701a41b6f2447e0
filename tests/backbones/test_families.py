"""A tiny random member of each well-known family of timm and transformers, held to the contract (conftest.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from tlresearch.backbones.timm import Timm
from tlresearch.backbones.transformers import Transformers
from tlresearch.core.types import Spec
from tlresearch.core.weights import Weights

PHOTO, TEXT = Spec("image", None, ()), Spec("text", None, ())
TEXTS = ["the film was good", "a very dull plot , not fine at all", "bad"]
VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
NARROW = {"layers": [1, 1, 1, 1], "channels": (32, 32, 64, 64)}
STAGES = {"depths": (1, 1, 1, 1)}
THIN = {**STAGES, "dims": (16, 16, 32, 64)}
WINDOWS = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)}
TIMM: dict[str, dict[str, Any]] = {
    "resnet18": NARROW,
    "resnext50_32x4d": NARROW,
    "resnetv2_50": NARROW,
    "res2net50_14w_8s": NARROW,
    "legacy_seresnet18": {"layers": [1, 1, 1, 1]},
    "regnetx_002": {},
    "regnety_002": {},
    "repvgg_a0": {},
    "efficientnet_b0": {},
    "tf_efficientnetv2_b0": {"channel_multiplier": 0.1, "depth_multiplier": 0.1},
    "mnasnet_small": {},
    "ghostnet_050": {},
    "lcnet_035": {},
    "mobilenetv2_050": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_050": {},
    "mobilevit_xxs": {},
    "convnext_atto": THIN,
    "convnextv2_atto": THIN,
    "inception_next_atto": THIN,
    "densenet121": {"block_config": (1, 1, 1, 1)},
    "vgg11": {"mlp_ratio": 0.01},
    "vgg11_bn": {"mlp_ratio": 0.01},
    "vit_tiny_patch16_224": VIT,
    "vit_small_patch14_dinov2": VIT,
    "vit_base_patch16_clip_224": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "deit_tiny_patch16_224": VIT,
    "deit_tiny_distilled_patch16_224": VIT,
    "deit3_small_patch16_224": VIT,
    "beit_base_patch16_224": VIT,
    "eva02_tiny_patch14_224": VIT,
    "cait_xxs24_224": {**VIT, "depth_token_only": 1},
    "xcit_nano_12_p16_224": VIT,
    "pit_ti_224": {},
    "swin_tiny_patch4_window7_224": WINDOWS,
    "swinv2_tiny_window8_256": WINDOWS,
    "test_maxvit": {},
    "pvt_v2_b0": STAGES,
    "levit_128s": {"embed_dim": (32, 48, 64), "depth": (1, 1, 1)},
    "mixer_s32_224": {},
    "resmlp_12_224": {},
    "gmlp_ti16_224": {},
    "poolformer_s12": {},
    "fastvit_t8": {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 64)},
    "tiny_vit_5m_224": {**STAGES, "embed_dims": (16, 32, 48, 64), "num_heads": (2, 2, 2, 2)},
    "edgenext_xx_small": STAGES,
    "naflexvit_base_patch16_gap": VIT,
}
"""Name of a model → what makes it small."""

LARGE = (
    "vgg11",
    "resmlp_12_224",
    "gmlp_ti16_224",
    "poolformer_s12",
    "tiny_vit_5m_224",
    "legacy_seresnet18",
    "res2net50_14w_8s",
    "regnetx_002",
    "repvgg_a0",
    "mnasnet_small",
    "ghostnet_050",
    "lcnet_035",
    "mobilenetv2_050",
    "mobilenetv4_conv_small_050",
    "mobilevit_xxs",
    "pit_ti_224",
    "edgenext_xx_small",
    "inception_next_atto",
)
"""Those that take long, with a relative above: by the mark `matrix`."""

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 64}
FEW = {**SMALL, **WORDS, "num_key_value_heads": 1, "head_dim": 16}
T5 = {"vocab_size": 100, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
TOWERS = {"text_config": {**SMALL, **WORDS}, "vision_config": {**SMALL, "image_size": 32, "patch_size": 16}}
LANGUAGE: dict[str, dict[str, Any]] = {
    "bert": {**SMALL, **WORDS},
    "roberta": {**SMALL, **WORDS},
    "xlm-roberta": {**SMALL, **WORDS},
    "camembert": {**SMALL, **WORDS},
    "distilbert": {"vocab_size": 100, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {**SMALL, **WORDS, "embedding_size": 16},
    "deberta": {**SMALL, **WORDS, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **SMALL,
        **WORDS,
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": ["c2p", "p2c"],
    },
    "albert": {**SMALL, **WORDS, "embedding_size": 16},
    "mpnet": {**SMALL, **WORDS},
    "modernbert": {**SMALL, **WORDS, "cls_token_id": 2, "sep_token_id": 3, "classifier_pooling": "mean"},
    "mobilebert": {**SMALL, **WORDS, "embedding_size": 32, "intra_bottleneck_size": 32},
    "t5": T5,
    "mt5": T5,
    "gpt2": {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3},
    "gpt_neox": {**SMALL, **WORDS},
    "opt": {**WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64},
    "bloom": {"vocab_size": 100, "hidden_size": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3},
    "llama": FEW,
    "mistral": FEW,
    "qwen2": FEW,
    "qwen3": FEW,
    "gemma2": FEW,
    "clip": TOWERS,
}
"""Model type → its configuration; those below read images."""

VISION: dict[str, dict[str, Any]] = {
    "vit": {**SMALL, "image_size": 32},
    "deit": {**SMALL, "image_size": 32},
    "dinov2": {**SMALL, "image_size": 28, "patch_size": 14},
    "dinov2_with_registers": {**SMALL, "image_size": 28, "patch_size": 14},
    "dinov3_vit": {**SMALL, "image_size": 32},
    "beit": {**SMALL, "image_size": 32},
    "clip": TOWERS,
    "siglip": TOWERS,
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32, "window_size": 4},
    "convnext": {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "image_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1]},
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "noise.png"
    torch.manual_seed(0)
    Image.fromarray(torch.randint(256, (70, 90, 3), dtype=torch.uint8).numpy()).save(file)
    return file


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.matrix] * (n in LARGE)) for n in TIMM])
def test_a_family_of_timm(name: str, photo: Path, tmp_path: Path, contract: Any) -> None:
    def make(weights: Weights, seed: int) -> Timm:
        torch.manual_seed(seed)
        return Timm(PHOTO, weights, model=name, image_size=32, arguments=TIMM[name])

    backbone = make(Weights("none"), 0)
    evaluation: Any = timm.data.create_transform(**backbone.data, is_training=False)
    x = backbone.transform(contract.batch(backbone, [photo]).x, "test")
    torch.testing.assert_close(x[0], evaluation(Image.open(photo).convert("RGB")), rtol=1e-5, atol=1e-4)
    disturb(backbone)
    save_file({n: t.contiguous() for n, t in backbone.network.state_dict().items()}, tmp_path / "net.safetensors")
    noise = [torch.randint(256, (3, 32, 32), dtype=torch.uint8) for _ in range(3)]
    contract.hold(make, Weights("path", str(tmp_path)), noise)


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_family_of_transformers(name: str, tiny_bert_folder: Path, tmp_path: Path, contract: Any) -> None:
    save(name, LANGUAGE[name], tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_bert_folder).save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)  # of the family's own class, where it has one

    def make(weights: Weights, seed: int) -> Transformers:
        torch.manual_seed(seed)
        return Transformers(TEXT, weights, model=f"path:{tmp_path}", max_length=32)

    x = contract.batch(make(Weights("none"), 0), TEXTS).x
    assert x["input_ids"].tolist() == tokenizer(TEXTS, padding=True)["input_ids"]
    contract.hold(make, Weights("path", str(tmp_path)), TEXTS)


@pytest.mark.parametrize("name", VISION)
def test_a_vision_family_of_transformers(name: str, photo: Path, tmp_path: Path, contract: Any) -> None:
    side = 28 if name.startswith("dinov2") else 32
    save(name, VISION[name], tmp_path)
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = transformers.CLIPImageProcessor(**sizes)
    processor.save_pretrained(tmp_path)

    def make(weights: Weights, seed: int) -> Transformers:
        torch.manual_seed(seed)
        return Transformers(PHOTO, weights, model=f"path:{tmp_path}")

    backbone = make(Weights("none"), 0)
    expected = processor(Image.open(photo).convert("RGB"), return_tensors="pt")["pixel_values"]
    x = backbone.transform(contract.batch(backbone, [photo]).x, "test")
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    noise = [torch.randint(256, (3, 40, 50), dtype=torch.uint8) for _ in range(3)]
    contract.hold(make, Weights("path", str(tmp_path)), noise)


def save(name: str, options: dict[str, Any], folder: Path) -> None:
    torch.manual_seed(3)
    config = transformers.CONFIG_MAPPING[name](**options)
    network = transformers.AutoModel.from_config(config)
    disturb(network)
    network.save_pretrained(folder)


@torch.no_grad()
def disturb(network: torch.nn.Module) -> None:
    """As if it were pretrained: nothing is zero that training would have moved (scales of residual branches)."""
    for parameter in network.parameters():
        scale = 0.1 * parameter.abs().mean() if parameter.ndim > 1 else 0.05
        parameter.add_(scale * torch.randn_like(parameter))
