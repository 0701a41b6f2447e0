"""ResNet-20 for small images, beside its published sizes and what its published weights are known to reach."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Spec, Task
from tlresearch.core.weights import Weights

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = DATA / "weights" / "resnet20_cifar10.safetensors"
SPEC = Spec("image", (3, 32, 32), (Task("label", "classification", ("a", "b")),))


@pytest.fixture
def make(plugin):
    return plugin("cifar_resnet").CifarResNet


def test_has_the_papers_parameters(make):
    """0.27 M in table 6 of the paper; 269,722 with the classifier of 650 in the repository of the weights."""
    assert sum(p.numel() for p in make(SPEC, Weights.parse("none")).parameters()) == 269_722 - 650


def test_a_block_adds_to_a_thinned_and_padded_input(plugin):
    block = plugin("cifar_resnet").BasicBlock(2, 4, 2).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 2, 4, 4)
    out = block(x)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3]].any()


def test_grey_and_coloured_digits_come_out_alike(make):
    backbone = make(SPEC, Weights.parse("none")).eval()
    grey = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert torch.equal(backbone.transform(grey, "test"), backbone.transform(grey.expand(-1, 3, -1, -1), "test"))


def test_other_weights_are_refused(make, tmp_path):
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "few.safetensors")
    with pytest.raises(ConfigError, match="tensors are missing"):
        make(SPEC, Weights.parse(f"path:{tmp_path / 'few.safetensors'}"))


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs shared/data")
def test_the_published_weights_know_cifar(make):
    """80.4 % of the 1,000 JPEGs, as the README of the data says, measured there with the repository's own code."""
    backbone = make(SPEC, Weights.parse(f"path:{WEIGHTS}")).eval()
    images, y = [], []
    with zipfile.ZipFile(DATA / "cifar10" / "cifar10_jpeg_subset.zip") as archive:
        files = sorted(n for n in archive.namelist() if n.startswith("test/") and n.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in files})
        for name in files:
            with archive.open(name) as file:
                images.append(torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1))
            y.append(classes.index(name.split("/")[1]))
    with torch.no_grad():
        logits = backbone.pretrained_head(backbone(backbone.transform(torch.stack(images), "test")).pooled)
    assert (logits.argmax(1) == torch.tensor(y)).float().mean().item() == pytest.approx(0.804, abs=0.001)
