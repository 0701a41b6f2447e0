"""Operations counted by torch's counter against those counted by hand."""

import pytest
import torch
from torch import nn

from tlresearch.nn.flops import FlopCounter


@pytest.mark.parametrize(
    ("module", "places", "each"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 8 * 8, 9 * 3),
        (nn.Conv2d(4, 8, 3, padding=1, stride=2), 4 * 4, 9 * 4),
        (nn.Conv2d(4, 8, 3, padding=1, groups=2), 8 * 8, 9 * 2),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), 8 * 8, 9),
    ],
    ids=["plain", "stride", "groups", "depthwise"],
)
def test_a_convolution_forward_and_backward(module, places, each):
    """Every output is a sum over the kernel and the inputs of its group; each gradient costs the same again."""
    x = torch.randn(2, module.in_channels, 8, 8, requires_grad=True)
    forward = 2 * 2 * places * 8 * each
    with FlopCounter() as counter:
        loss = module(x).sum()
        assert counter.get_total_flops() == forward
        loss.backward()
    assert counter.get_total_flops() == 3 * forward
    with FlopCounter() as counter:
        module(x.detach()).sum().backward()  # nobody asks for the gradient of the input
    assert counter.get_total_flops() == 2 * forward


def test_a_transposed_convolution():
    module = nn.ConvTranspose2d(4, 6, 3)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    with FlopCounter() as counter:
        module(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 2 * 25 * 4 * 6 * 9  # every input goes into 6 · 9 outputs


def test_attention_forward_and_backward():
    """Q Kᵀ and A V; backward computes Q Kᵀ again and two gradients of each: five products for two."""
    q, k, v = (torch.randn(2, 3, 7, 4, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 3 * 7 * 7 * 4
    with FlopCounter() as counter:
        loss = nn.functional.scaled_dot_product_attention(q, k, v).sum()
        assert counter.get_total_flops() == 2 * product
        loss.backward()
    assert counter.get_total_flops() == 7 * product
