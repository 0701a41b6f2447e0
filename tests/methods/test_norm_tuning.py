"""Which layers are normalisation layers, by other people's lists of them."""

import pytest
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.norm_tuning import NormTuning


class Plain(Backbone):
    """Two linear layers alone."""

    feature_dim = 3

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 3, bias=False), nn.Linear(3, 3, bias=False)])

    def blocks(self):
        return list(self.layers)


@pytest.fixture
def bert(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    return Model(build("backbone", options, spec=Spec("text", None, ())))


def moving(model, method):
    method.setup(model, Spec("text", None, ()))
    chosen = {id(p) for p in method.trainable(model, Clock(0, 0, 0, 1, ()))}
    return {name for name, p in model.backbone.named_parameters() if id(p) in chosen}


def test_norms_are_those_of_transformers_own_trainer(bert):
    from transformers.trainer_pt_utils import get_parameter_names

    everything = {name for name, _ in bert.backbone.named_parameters()}
    without = set(get_parameter_names(bert.backbone, [nn.LayerNorm]))
    assert moving(bert, NormTuning()) == everything - without != set()


def test_norms_of_a_residual_network_are_its_batch_norms():
    options = {"name": "timm", "model": "resnet18", "weights": "none"}
    model = Model(build("backbone", options, spec=Spec("image", (3, 32, 32), ())))
    found = moving(model, NormTuning())
    layers = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {id(model.backbone.get_parameter(name)) for name in found} == {id(p) for m in layers for p in m.parameters()}
    assert len(found) == 2 * 20, "the 20 batch norms of a ResNet-18"


def test_a_backbone_without_any_is_refused():
    with pytest.raises(ConfigError, match="no normalisation layer"):
        NormTuning().setup(Model(Plain()), Spec("vector", (2,), ()))
