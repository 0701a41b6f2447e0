"""A tiny random member of each well-known family of timm and transformers, held to the contract of a backbone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tlresearch.backbones.timm import Timm
from tlresearch.backbones.transformers import Transformers
from tlresearch.config.registry import load
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.rows import Rows
from tlresearch.core.types import Clock, Spec, Task
from tlresearch.core.weights import Weights
from tlresearch.heads.linear import Linear
from tlresearch.training.checkpoint import load_model
from tlresearch.training.parameters import choose_trainable, set_modes

TASK = Task("toy", "classification", ("a", "b", "c"))
PHOTO, TEXT = Spec("image", None, (TASK,)), Spec("text", None, (TASK,))
TEXTS = ["the film was good", "a very dull plot , not fine at all", "bad"]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "partial": {"blocks": 1},
    # "adapter": {"reduction": 4},
}
"""Methods that every family has to bear, with options of theirs."""

VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
ONE = {"layers": [1, 1, 1, 1]}
WINDOWS = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)}
TIMM: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnext50_32x4d": ONE,
    "resnetv2_50": ONE,
    "res2net50_14w_8s": ONE,
    "legacy_seresnet18": {},
    "regnetx_002": {},
    "regnety_002": {},
    "repvgg_a0": {},
    "efficientnet_b0": {},
    "tf_efficientnetv2_b0": {},
    "mnasnet_small": {},
    "ghostnet_050": {},
    "lcnet_035": {},
    "mobilenetv2_050": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_050": {},
    "mobilevit_xxs": {},
    "convnext_atto": {},
    "convnextv2_atto": {},
    "inception_next_atto": {},
    "densenet121": {"block_config": (1, 1, 1, 1)},
    "vgg11": {"num_features": 64},
    "vgg11_bn": {"num_features": 64},
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
    "pvt_v2_b0": {},
    "levit_128s": {},
    "mixer_s32_224": {},
    "resmlp_12_224": {},
    "gmlp_ti16_224": {},
    "poolformer_s12": {},
    "fastvit_t8": {},
    "tiny_vit_5m_224": {},
    "edgenext_xx_small": {},
    "naflexvit_base_patch16_gap": VIT,
}
"""Name of a model → what makes it small."""

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 64}
FEW = {**SMALL, **WORDS, "num_key_value_heads": 1, "head_dim": 16}
T5 = {"vocab_size": 40, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
TOWERS = {"text_config": {**SMALL, **WORDS}, "vision_config": {**SMALL, "image_size": 32, "patch_size": 16}}
LANGUAGE: dict[str, dict[str, Any]] = {
    "bert": {**SMALL, **WORDS},
    "roberta": {**SMALL, **WORDS},
    "xlm-roberta": {**SMALL, **WORDS},
    "camembert": {**SMALL, **WORDS},
    "distilbert": {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
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
    "gpt2": {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3},
    "gpt_neox": {**SMALL, **WORDS},
    "opt": {**WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64},
    "bloom": {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3},
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


def batch(backbone: Backbone, inputs: list[Any]) -> Any:
    rows, preprocess = Rows(inputs, {"toy": torch.arange(len(inputs))}), backbone.preprocess("test")
    return backbone.collate([preprocess(rows[i]) for i in range(len(inputs))])


@pytest.mark.parametrize("name", TIMM)
def test_a_family_of_timm(name: str, photo: Path, tmp_path: Path) -> None:
    def make(weights: Weights, seed: int) -> Timm:
        torch.manual_seed(seed)
        return Timm(PHOTO, weights, model=name, image_size=32, arguments=TIMM[name])

    backbone = make(Weights("none"), 0)
    evaluation: Any = timm.data.create_transform(**backbone.data, is_training=False)
    x = backbone.transform(batch(backbone, [photo]).x, "test")
    torch.testing.assert_close(x[0], evaluation(Image.open(photo).convert("RGB")), rtol=1e-5, atol=1e-4)
    save_file({n: t.contiguous() for n, t in backbone.network.state_dict().items()}, tmp_path / "net.safetensors")
    noise = [torch.randint(256, (3, 32, 32), dtype=torch.uint8) for _ in range(3)]
    hold(make, Weights("path", str(tmp_path)), noise)


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_family_of_transformers(name: str, tiny_bert_folder: Path, tmp_path: Path) -> None:
    save(name, LANGUAGE[name], tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert_folder)
    tokenizer.save_pretrained(tmp_path)

    def make(weights: Weights, seed: int) -> Transformers:
        torch.manual_seed(seed)
        return Transformers(TEXT, weights, model=f"path:{tmp_path}", max_length=32)

    x = batch(make(Weights("none"), 0), TEXTS).x
    assert x["input_ids"].tolist() == tokenizer(TEXTS, padding=True)["input_ids"]
    hold(make, Weights("path", str(tmp_path)), TEXTS)


@pytest.mark.parametrize("name", VISION)
def test_a_vision_family_of_transformers(name: str, photo: Path, tmp_path: Path) -> None:
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
    x = backbone.transform(batch(backbone, [photo]).x, "test")
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    noise = [torch.randint(256, (3, 40, 50), dtype=torch.uint8) for _ in range(3)]
    hold(make, Weights("path", str(tmp_path)), noise)


def save(name: str, options: dict[str, Any], folder: Path) -> None:
    torch.manual_seed(3)
    config = transformers.CONFIG_MAPPING[name](**options)
    transformers.AutoModel.from_config(config).save_pretrained(folder)


def hold(make: Any, saved: Weights, inputs: list[Any]) -> None:
    """make: weights and a seed → the backbone."""
    backbone: Backbone = make(saved, 1).eval()
    x = backbone.transform(batch(backbone, inputs).x, "test")
    check_features(backbone, x)
    check_depths(backbone, x)
    again, other = make(saved, 2).eval(), make(Weights("none"), 2).eval()
    with torch.no_grad():
        pooled = backbone(x).pooled
        assert torch.equal(again(x).pooled, pooled) and not torch.equal(other(x).pooled, pooled)
    assert backbone.fresh == frozenset()
    for name, options in METHODS.items():
        check_method(lambda: copy.deepcopy(backbone), lambda: copy.deepcopy(other), name, options, inputs)


def check_features(backbone: Backbone, x: Any) -> None:
    rows = len(x) if isinstance(x, Tensor) else len(x["input_ids"])
    with torch.no_grad():
        features = backbone(x)
    assert features.pooled.shape == (rows, backbone.feature_dim) and features.pooled.isfinite().all()
    if features.tokens is not None:
        assert features.tokens.ndim == 3 and features.tokens.shape[::2] == (rows, backbone.feature_dim)
    assert not torch.equal(features.pooled[0], features.pooled[1])


def check_depths(backbone: Backbone, x: Any) -> None:
    """Blocks run in order; what comes out of one depends on no parameter that is deeper, and on every shallower depth."""
    blocks, depths = backbone.blocks(), backbone.depths()
    named = dict(backbone.named_parameters())
    assert depths.keys() == named.keys() and {backbone.depth(name) for name in named} <= set(range(len(blocks) + 1))
    inside = [{id(p) for p in block.parameters()} for block in blocks]
    assert all(inside) and sum(map(len, inside)) == len(set().union(*inside)), "a block without parameters, or shared"
    assert all(depths[n] == i + 1 for i, own in enumerate(inside) for n, p in named.items() if id(p) in own)
    called: list[int] = []
    outputs: dict[int, Tensor] = {}

    def note(number: int, output: Any) -> None:
        called.append(number)
        outputs[number] = (output if isinstance(output, Tensor) else output[0]).detach()

    hooks = [block.register_forward_hook(lambda _m, _a, o, i=i: note(i, o)) for i, block in enumerate(blocks)]
    with torch.no_grad():
        backbone(x)
        assert list(dict.fromkeys(called)) == list(range(len(blocks))), "blocks are not in the order of the pass"
        before, middle = dict(outputs), len(blocks) // 2
        moved = copy.deepcopy({n: p for n, p in named.items() if depths[n] > middle})
        for name in moved:
            named[name].add_(torch.randn_like(named[name]))
        backbone(x)
        for number in range(middle):
            assert torch.equal(outputs[number], before[number]), f"block {number} reads parameters that are deeper"
        assert not torch.equal(outputs[len(blocks) - 1], before[len(blocks) - 1])
        for name, parameter in moved.items():
            named[name].copy_(parameter)
    for hook in hooks:
        hook.remove()


def adapted(backbone: Backbone, name: str, options: dict[str, Any]) -> tuple[Model, Any]:
    model, method = Model(backbone), load("method", name)(**options)
    model.add_head(TASK, Linear(backbone, TASK))
    method.setup(model, Spec("any", None, (TASK,)))
    choose_trainable(model, {name: method}, Clock(0, 0, 0, 1, {}))
    return model, method


def check_method(backbone: Any, other: Any, name: str, options: dict[str, Any], inputs: list[Any]) -> None:
    """Two steps move what the method declares and nothing else; the state brings the model back under another seed."""
    torch.manual_seed(0)
    model, method = adapted(backbone(), name, options)
    rows = batch(model.backbone, inputs)
    start = {n: t.clone() for n, t in model.state_dict().items()}
    declared = {n for n, p in model.named_parameters() if p.requires_grad}
    assert declared > {n for n in start if n.startswith("heads.")}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    set_modes(model, "eval")
    for _ in range(2):
        optimizer.zero_grad()
        head = model.head("toy")
        head.loss(model(rows.x).logits["toy"], rows.y["toy"]).mean().backward()
        optimizer.step()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, start[n])}
    statistics = {n for n in changed if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert statistics <= {n for n in start if n.rpartition(".")[0] + ".weight" in declared}
    assert changed - statistics <= declared and {n for n in changed if n.startswith("heads.")}
    body = {n for n in declared if n.startswith("backbone.")}
    assert len(changed & body) >= len(body) / 3, f"declared and at rest: {sorted(body - changed)[:5]}"
    torch.manual_seed(9)
    second, _ = adapted(other(), name, options)
    model.eval(), second.eval()
    with torch.no_grad():
        expected = model(rows.x).logits["toy"]
        assert not torch.equal(second(rows.x).logits["toy"], expected)
        load_model(second, model.state_dict())
        assert torch.equal(second(rows.x).logits["toy"], expected)
