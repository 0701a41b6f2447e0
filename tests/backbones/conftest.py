"""What every family of backbones is held to: features, depths, methods, reloading."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tlresearch.config.registry import load
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.rows import Rows
from tlresearch.core.types import Clock, Spec, Task
from tlresearch.core.weights import Weights
from tlresearch.heads.linear import Linear
from tlresearch.training.checkpoint import load_model
from tlresearch.training.parameters import choose_trainable, set_modes

TASK = Task("toy", "classification", ("a", "b", "c"))
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "partial": {"blocks": 1},
    "adapter": {"reduction": 4},
}
"""Methods that every family has to bear, with options of theirs."""


@pytest.fixture(scope="session")
def contract() -> Any:
    """hold(make, saved, inputs): all of it; batch(backbone, inputs): preprocessed and collated."""
    return SimpleNamespace(hold=hold, batch=batch)


def batch(backbone: Backbone, inputs: list[Any]) -> Any:
    rows, preprocess = Rows(inputs, {"toy": torch.arange(len(inputs))}), backbone.preprocess("test")
    return backbone.collate([preprocess(rows[i]) for i in range(len(inputs))])


def hold(make: Any, saved: Weights, inputs: list[Any]) -> None:
    """make: weights and a seed → the backbone."""
    backbone: Backbone = make(saved, 1).eval()
    x = backbone.transform(batch(backbone, inputs).x, "test")
    check_features(backbone, x)
    check_depths(backbone, x)
    again, other = make(saved, 2).eval(), make(Weights("none"), 2).eval()
    with torch.no_grad():
        pooled = backbone(x).pooled
        assert torch.equal(again(x).pooled, pooled) and not torch.equal(other(x).pooled, pooled)
    assert backbone.fresh == frozenset()
    for name, options in METHODS.items():
        check_method(lambda: copy.deepcopy(backbone), lambda: copy.deepcopy(other), name, options, inputs)


def check_features(backbone: Backbone, x: Any) -> None:
    rows = len(x) if isinstance(x, Tensor) else len(x["input_ids"])
    with torch.no_grad():
        features = backbone(x)
    assert features.pooled.shape == (rows, backbone.feature_dim) and features.pooled.isfinite().all()
    if features.tokens is not None:
        assert features.tokens.ndim == 3 and features.tokens.shape[::2] == (rows, backbone.feature_dim)
    assert not torch.equal(features.pooled[0], features.pooled[1])


def check_depths(backbone: Backbone, x: Any) -> None:
    """Blocks run in order; what comes out of one depends on no parameter that is deeper."""
    blocks, depths = backbone.blocks(), backbone.depths()
    named = dict(backbone.named_parameters())
    assert depths.keys() == named.keys() and {backbone.depth(name) for name in named} <= set(range(len(blocks) + 1))
    inside = [{id(p) for p in block.parameters()} for block in blocks]
    assert all(inside) and sum(map(len, inside)) == len(set().union(*inside)), "a block without parameters, or shared"
    assert all(depths[n] == i + 1 for i, own in enumerate(inside) for n, p in named.items() if id(p) in own)
    called: list[int] = []
    outputs: dict[int, Tensor] = {}

    def note(number: int, output: Any) -> None:
        called.append(number)
        outputs[number] = (output if isinstance(output, Tensor) else output[0]).detach()

    hooks = [block.register_forward_hook(lambda _m, _a, o, i=i: note(i, o)) for i, block in enumerate(blocks)]
    with torch.no_grad():
        backbone(x)
        assert list(dict.fromkeys(called)) == list(range(len(blocks))), "blocks are not in the order of the pass"
        before, middle = dict(outputs), len(blocks) // 2
        moved = copy.deepcopy({n: p for n, p in named.items() if depths[n] > middle})
        for name in moved:
            named[name].add_(torch.randn_like(named[name]))
        backbone(x)
        for number in range(middle):
            assert torch.equal(outputs[number], before[number]), f"block {number} reads parameters that are deeper"
        assert not torch.equal(outputs[len(blocks) - 1], before[len(blocks) - 1])
        for name, parameter in moved.items():
            named[name].copy_(parameter)
    for hook in hooks:
        hook.remove()


def adapted(backbone: Backbone, name: str, options: dict[str, Any]) -> Model:
    model, method = Model(backbone), load("method", name)(**options)
    model.add_head(TASK, Linear(backbone, TASK))
    method.setup(model, Spec("any", None, (TASK,)))
    choose_trainable(model, {name: method}, Clock(0, 0, 0, 1, {}))
    return model


def check_method(backbone: Any, other: Any, name: str, options: dict[str, Any], inputs: list[Any]) -> None:
    """Two steps move what the method declares and nothing else; the state brings the model back under another seed."""
    torch.manual_seed(0)
    model = adapted(backbone(), name, options)
    rows = batch(model.backbone, inputs)
    start = {n: t.clone() for n, t in model.state_dict().items()}
    declared = {n for n, p in model.named_parameters() if p.requires_grad}
    assert declared > {n for n in start if n.startswith("heads.")}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    set_modes(model, "eval")
    for _ in range(2):
        optimizer.zero_grad()
        head = model.head("toy")
        head.loss(model(rows.x).logits["toy"], rows.y["toy"]).mean().backward()
        optimizer.step()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, start[n])}
    statistics = {n for n in changed if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert statistics <= {n for n in start if n.rpartition(".")[0] + ".weight" in declared}
    assert changed - statistics <= declared and {n for n in changed if n.startswith("heads.")}
    body = {n for n in declared if n.startswith("backbone.")}
    assert len(changed & body) >= 2 * len(body) / 3, f"declared and at rest: {sorted(body - changed)[:5]}"
    torch.manual_seed(9)
    second = adapted(other(), name, options)
    model.eval(), second.eval()
    with torch.no_grad():
        expected = model(rows.x).logits["toy"]
        assert expected.isfinite().all()
        assert not torch.equal(second(rows.x).logits["toy"], expected)
        load_model(second, model.state_dict())
        assert torch.equal(second(rows.x).logits["toy"], expected)
