"""Which layers are normalisation layers, by other people's lists of them."""

import pytest
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Spec
from tlresearch.methods.norm_tuning import NormTuning


def test_norms_are_those_of_transformers_own_trainer(bert, moving):
    from transformers.trainer_pt_utils import get_parameter_names

    everything = {name for name, _ in bert.backbone.named_parameters()}
    without = set(get_parameter_names(bert.backbone, [nn.LayerNorm]))
    assert moving(bert, NormTuning()) == everything - without != set()


def test_norms_of_a_residual_network_are_its_batch_norms(moving):
    options = {"name": "timm", "model": "resnet18", "weights": "none"}
    model = Model(build("backbone", options, spec=Spec("image", (3, 32, 32), ())))
    found = moving(model, NormTuning())
    layers = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {id(model.backbone.get_parameter(name)) for name in found} == {id(p) for m in layers for p in m.parameters()}
    assert len(found) == 2 * 20, "the 20 batch norms of a ResNet-18"


def test_a_backbone_without_any_is_refused(plain):
    with pytest.raises(ConfigError, match="no normalisation layer"):
        NormTuning().setup(plain, Spec("vector", (2,), ()))
