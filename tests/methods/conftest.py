"""A text network and one without biases and norms, for methods that choose what moves."""

import pytest
from torch import nn

from tlresearch.config.build import build
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec


class _Plain(Backbone):
    """Two linear layers without bias or norm."""

    feature_dim = 3

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 3, bias=False), nn.Linear(3, 3, bias=False)])

    def blocks(self):
        return list(self.layers)


@pytest.fixture
def plain():
    return Model(_Plain())


@pytest.fixture
def bert(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    return Model(build("backbone", options, spec=Spec("text", None, ())))


@pytest.fixture
def moving():
    """moving(model, method) → names of the backbone's parameters that the method lets move."""

    def found(model, method):
        method.setup(model, Spec("text", None, ()))
        chosen = {id(p) for p in method.trainable(model, Clock(0, 0, 0, 1, ()))}
        return {name for name, p in model.backbone.named_parameters() if id(p) in chosen}

    return found
