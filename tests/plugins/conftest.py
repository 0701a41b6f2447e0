"""A small real model, and the plugins by name."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.model import Model
from tlresearch.core.rows import Rows
from tlresearch.core.types import Clock, Features, Spec, Stage, Task

PLUGINS = Path(__file__).parents[2] / "plugins"
TASKS = (Task("coarse", "classification", ("a", "b")), Task("fine", "classification", ("a", "b", "c")))


class Tiny(Backbone):
    """A stem without bias, two blocks, a final scale: depths 0, 1, 2 and 2."""

    feature_dim = 3

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(2, 3, bias=False)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x).tanh()
        return Features(None, self.norm(x), None)

    def blocks(self):
        return list(self.layers)


class TinyHead(Head):
    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(3, classes)

    def forward(self, features):
        return self.linear(features.pooled)


@pytest.fixture
def spec():
    return Spec("vector", (2,), TASKS)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Model(Tiny())
    for task in TASKS:
        model.add_head(task, TinyHead(len(task.labels)))
    return model


@pytest.fixture
def stage():
    rows = Rows(torch.zeros(4, 2), {task.name: torch.zeros(4, dtype=torch.int64) for task in TASKS})
    return Stage("only", TASKS, rows, rows, rows)


@pytest.fixture
def clock():
    return Clock(0, 0, 0, 1, {})


@pytest.fixture
def plugin():
    """file name → its module, as if the working directory had been searched."""

    def load(name):
        found = importlib.util.spec_from_file_location(f"tests_plugin_{name}", PLUGINS / f"{name}.py")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    return load
