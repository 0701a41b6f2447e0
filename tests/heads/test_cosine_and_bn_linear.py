"""The cosine and the BatchNorm head against formulas written by hand."""

import numpy as np
import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.types import Features, Task
from tlresearch.heads.bn_linear import BNLinear
from tlresearch.heads.cosine import Cosine


class Flat(Backbone):
    feature_dim = 8


def task(classes):
    return Task("toy", "classification", tuple("abcde"[:classes]))


def features(x):
    return Features(None, x, None)


def test_cosine_is_the_scaled_cosine_whatever_the_lengths():
    head, x = Cosine(Flat(), task(3), scale=4.0), torch.randn(5, 8)
    w = head.output.weight.detach().numpy()
    lengths = np.linalg.norm(x.numpy(), axis=1)[:, None] * np.linalg.norm(w, axis=1)[None]
    np.testing.assert_allclose(head(features(x)).detach().numpy(), 4 * x.numpy() @ w.T / lengths, rtol=1e-4)
    torch.testing.assert_close(head(features(100 * x)), head(features(x)))
    before = head(features(x))
    head.grow(task(5))
    assert head(features(x)).shape == (5, 5)
    torch.testing.assert_close(head(features(x))[:, :3], before)
    head(features(x)).sum().backward()
    assert head.log_scale.grad is not None
    with pytest.raises(ConfigError, match="scale"):
        Cosine(Flat(), task(3), scale=0.0)


def test_bn_linear_standardises_by_the_batch_then_by_what_it_has_seen():
    head, x = BNLinear(Flat(), task(3)), 50 + 9 * torch.randn(200, 8)
    weight, bias = head.output.weight.detach().numpy(), head.output.bias.detach().numpy()
    z = (x.numpy() - x.numpy().mean(0)) / x.numpy().std(0)
    np.testing.assert_allclose(head(features(x)).detach().numpy(), z @ weight.T + bias, atol=1e-4)
    for _ in range(100):
        head(features(x))
    alone = head(features(x[:1]))
    head.eval()
    torch.testing.assert_close(head(features(x[:1])), alone)
    np.testing.assert_allclose(head(features(x)).detach().numpy(), z @ weight.T + bias, atol=0.02)
    assert {n for n, _ in head.named_parameters()} == {"output.weight", "output.bias"}


def test_bn_linear_does_not_ask_for_the_scale_of_the_features():
    torch.manual_seed(0)
    head, x = BNLinear(Flat(), task(3)), torch.randn(40, 8)
    torch.testing.assert_close(head(features(1000 * x + 77)), head(features(x)), rtol=1e-3, atol=1e-3)
