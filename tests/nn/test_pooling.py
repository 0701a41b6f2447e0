"""Poolings that learn, by hand; on texts with padding, on maps, and in a run."""

import numpy as np
import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import pool
from tlresearch.core.model import Model
from tlresearch.core.prefix import CannotCut, Cut
from tlresearch.core.types import Features, Spec, Task
from tlresearch.core.weights import Weights
from tlresearch.heads.linear import Linear
from tlresearch.nn.pooling import AttentionPooling, GeM

TASK = Task("toy", "classification", ("a", "b"))
MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])


def tokens():
    return torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))


def test_attention_weighs_real_tokens_by_a_softmax():
    x, pooling = tokens(), AttentionPooling(6)
    features = Features(x, x[:, 0], MASK)
    torch.testing.assert_close(pooling(x, MASK), pool(features, "mean").pooled)  # as it starts
    torch.nn.init.normal_(pooling.query)
    q = pooling.query.detach().numpy()
    for row, count in ((0, 3), (1, 1)):
        real = x[row, :count].numpy()
        weights = np.exp(real @ q / np.sqrt(6))
        expected = (weights / weights.sum()) @ real
        np.testing.assert_allclose(pooling(x, MASK)[row].detach().numpy(), expected, rtol=1e-5)


def test_gem_is_the_generalised_mean_of_real_tokens():
    x, pooling = tokens().abs(), GeM()
    for power in (1.0, 3.0, 60.0):
        pooling.power.data.fill_(power)
        for row, count in ((0, 3), (1, 1)):
            expected = np.mean(x[row, :count].double().numpy() ** power, axis=0) ** (1 / power)
            np.testing.assert_allclose(pooling(x, MASK)[row].detach().numpy(), expected, rtol=1e-2)
    near = pool(Features(x, x[:, 0], MASK), "max").pooled
    assert (pooling(x, MASK) - near).abs().max() < 0.05, "a high power is nearly the maximum"
    assert GeM()(-x, MASK).isfinite().all()
    padded = torch.where(MASK.unsqueeze(2), x, 1e30)
    torch.testing.assert_close(pooling(padded, MASK), pooling(x, MASK))


class Map(Backbone):
    feature_dim = 6

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 6)

    def blocks(self):
        return [self.layer]

    def forward(self, x):
        out = self.layer(x)
        return Features(out, out.mean(1), None)


@pytest.mark.parametrize("how", ["attention", "gem"])
def test_it_trains_with_the_head_and_lies_in_its_state(how):
    model = Model(Map())
    model.add_head(TASK, Linear(model.backbone, TASK), how)
    x = tokens()
    out = model(x)
    assert torch.equal(out.features.pooled, model.backbone(x).pooled), "methods see the backbone's own pooling"
    out.logits["toy"].square().sum().backward()
    own = {n: p for n, p in model.named_parameters() if n.startswith("heads.head_toy.pooling.")}
    assert len(own) == 1 and all(p.grad is not None and p.grad.abs().sum() > 0 for p in own.values())
    assert torch.equal(model.features(x, "toy").pooled, model.head("toy").pooling(out.features.tokens, MASK | True))
    with pytest.raises(CannotCut, match="reads tokens"):
        Cut(model.backbone, None, model.pooling.values())


def test_of_a_backbone_without_tokens_it_is_refused():
    from tlresearch.backbones.mlp import MLP

    torch.manual_seed(0)
    backbone = MLP(Spec("vector", (6,), (TASK,)), Weights("none"))
    model = Model(backbone)
    model.add_head(TASK, Linear(backbone, TASK), "gem")
    with pytest.raises(ConfigError, match=r"head\.pooling: 'gem': needs tokens"):
        model(torch.randn(2, 6))


def test_only_what_has_a_class_token_is_pooled_at_it():
    from tlresearch.backbones.timm import Timm

    spec = Spec("image", None, (TASK,))
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
    vit = Timm(spec, Weights("none"), model="vit_tiny_patch16_224", arguments=options)
    Model(vit).add_head(TASK, Linear(vit, TASK), "cls")
    network = Timm(spec, Weights("none"), model="test_resnet", image_size=32)
    with pytest.raises(ConfigError, match=r"head\.pooling: 'cls': this backbone has no class token"):
        Model(network).add_head(TASK, Linear(network, TASK), "cls")
