"""Blocks frozen by name, and who trains in them."""

import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.core.method import Method
from tlresearch.core.types import Clock
from tlresearch.methods.adapter import Adapter
from tlresearch.training.frozen import check_frozen

CLOCK = Clock(0, 0, 0, 1, {})


class Freezing(Method):
    """Freezes whatever is below a name."""

    def __init__(self, name):
        self.name = name

    def setup(self, model, spec):
        self.frozen = [p for n, p in model.backbone.named_parameters() if n.startswith(self.name)]


def check(model, freezing, adapter):
    methods = {"freezing": freezing, "adapter": adapter}
    for method in methods.values():
        method.setup(model, None)
    check_frozen(model, methods, CLOCK)


def test_an_adapter_in_a_frozen_block_is_refused(small_model):
    message = "method: 'adapter' trains in block 'layers.0', which 'freezing' freezes by name"
    with pytest.raises(ConfigError, match=message):
        check(small_model(), Freezing("layers.0"), Adapter(reduction=1))
    with pytest.raises(ConfigError, match=message):
        check(small_model(), Freezing("layers.0"), Adapter(reduction=1, blocks=r"\.0$"))


def test_adapters_elsewhere_and_beside_single_frozen_tensors_are_not(small_model):
    check(small_model(), Freezing("layers.0"), Adapter(reduction=1, blocks=r"\.1$"))
    check(small_model(), Freezing("layers.0.0.bias"), Adapter(reduction=1))
