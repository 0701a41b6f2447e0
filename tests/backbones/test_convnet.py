"""The convolutional network: augmentation, saved weights, and accuracy on digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from tlresearch.backbones.convnet import ConvNet
from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Spec
from tlresearch.core.weights import Weights

GREY = Spec("image", (1, 8, 8), ())


def test_pixels_are_scaled_to_one_and_minus_one() -> None:
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    scaled = ConvNet(GREY, Weights("none")).transform(x, "test")
    assert scaled[0].unique().tolist() == [-1] and scaled[1].unique().tolist() == [1]


def test_random_crop_moves_in_training_only() -> None:
    net = ConvNet(GREY, Weights("none"), random_crop=2)
    x = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    still = net.transform(x, "test")
    assert torch.equal(still, ConvNet(GREY, Weights("none"), random_crop=0).transform(x, "train"))
    moved = net.transform(x, "train")
    assert moved.shape == still.shape and not torch.equal(moved, still)
    for before, after in zip(still[:, 0], moved[:, 0], strict=True):
        windows = F.pad(before[None, None], (2, 2, 2, 2), mode="replicate")[0, 0].unfold(0, 8, 1).unfold(1, 8, 1)
        assert bool((windows == after).flatten(2).all(-1).any()), "not a shift by up to two pixels"


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ConvNet(GREY, Weights("none"), width=4)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    torch.manual_seed(1)
    again = ConvNet(GREY, Weights("path", str(tmp_path / "net.safetensors")), width=4)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert again.fresh == frozenset()
    with pytest.raises(ConfigError, match=r"layers\.0\.0\.weight \(4, 1, 3, 3\) instead of \(8, 1, 3, 3\)"):
        ConvNet(GREY, Weights("path", str(tmp_path / "net.safetensors")), width=8)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Steps this small are faster on one thread, by far where other processes use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_digits_are_learnt() -> None:
    data = load_digits()
    x = torch.from_numpy(data.images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
    y = torch.from_numpy(data.target)
    torch.manual_seed(0)
    order = torch.randperm(len(y))
    train, test = order[: int(0.8 * len(y))], order[int(0.8 * len(y)) :]
    net = ConvNet(GREY, Weights("none"), width=16, random_crop=0)
    head = nn.Linear(net.feature_dim, 10)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=ConvNet.learning_rate)
    for _ in range(5):
        for chosen in train[torch.randperm(len(train))].split(32):
            loss = F.cross_entropy(head(net(net.transform(x[chosen], "train")).pooled), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        right = head(net(net.transform(x[test], "test")).pooled).argmax(1) == y[test]
    assert right.float().mean() >= 0.97
