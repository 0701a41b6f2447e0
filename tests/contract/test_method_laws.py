"""Equalities that tie methods to each other: neutral elements, counts by formula, micro-batches, two processes."""

import pytest
import torch
from torch import nn

from tlresearch.config.registry import load

from . import registered
from .harness import NETS, STAGED, Kit, equal, same, tensors

METHODS = registered.methods()
every_method = registered.every("method", "method", METHODS)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@every_method
def test_neutral_options_are_fine_tuning(kit: Kit, method: str, net: str) -> None:
    neutral = load("method", method).neutral
    if neutral is None:
        return  # it says that it never is
    share = kit.build("method", method, at=neutral).unlabelled
    for stages in (1, 2) if neutral else (1,):
        data = {"stages": stages, "target": share > 0}
        same_rows = {"contract_rows": {"share": share}} if share else {}
        run = kit.run(kit.config(net, {method: neutral}, data, clip=0.5))
        plain = kit.once(kit.config(net, same_rows, data, clip=0.5))
        same(plain.state, {name: tensor for name, tensor in run.state.items() if not name.startswith("aux.")})


@every_method
def test_setup_keeps_the_outputs(kit: Kit, method: str, net: str) -> None:
    with_method, without = (kit.start(kit.config(net, methods), []) for methods in ({method: {}}, {}))
    outs = []
    for session in (with_method, without):
        session.model.eval()
        rows = session.prepared["train"]
        with torch.no_grad():
            outs.append(session.model(rows.batch(torch.arange(len(rows))).x))
    if load("method", method).keeps_outputs:
        assert torch.equal(outs[0].features.pooled, outs[1].features.pooled)
    for task, logits in outs[1].logits.items():
        assert outs[0].logits[task].shape == logits.shape
        assert not load("method", method).keeps_outputs or torch.equal(outs[0].logits[task], logits)


@pytest.mark.parametrize("net", NETS, indirect=True)
@registered.every("method", "method", ("probe", "finetune", "lora"))
def test_trainable_parameters_are_those_of_the_formula(kit: Kit, method: str, net: str) -> None:
    bare = kit.start(kit.config(net, {}), []).model
    names = {"cnn": ("layers.0.0", "layers.1.0"), "vit": ("attn.qkv",), "bert": ("query", "value")}[net]
    adapted = [m for n, m in bare.backbone.named_modules() if n.endswith(names)]
    rank = 3
    low = 0
    for module in adapted:
        if isinstance(module, nn.Conv2d):
            low += rank * (module.in_channels * module.kernel_size[0] * module.kernel_size[1] + module.out_channels)
        else:
            low += rank * (module.in_features + module.out_features)
    heads = sum((bare.backbone.feature_dim + 1) * classes for classes in (3, 2))
    body = {"probe": 0, "finetune": sum(p.numel() for p in bare.backbone.parameters()), "lora": low}[method]
    cost = kit.run(kit.config(net, {method: {"rank": rank} if method == "lora" else {}})).results["cost"]
    assert cost["parameters_trainable"] == body + heads
    assert len(adapted) == {"cnn": 2, "vit": 2, "bert": 4}[net]


@pytest.mark.parametrize("net", ["vit", pytest.param("bert", marks=pytest.mark.matrix)], indirect=True)
@every_method
def test_micro_batches_add_up_to_the_batch(kit: Kit, method: str, net: str) -> None:
    if load("method", method).batch_coupled:
        return  # it says so
    values = {"optimizer": _sgd(), "selection": {"name": "last"}, "steps": 3}
    whole, parts = (kit.run(kit.config(net, {method: {}}, **values, accumulate=count)) for count in (1, 3))
    assert any(not equal(tensor, whole.state[name]) for name, tensor in whole.start.items())
    for name, tensor in whole.state.items():
        torch.testing.assert_close(parts.state[name], tensor, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


ABOUT = {name: registered.about(("method", name)) for name in METHODS}
RANKED = pytest.mark.parametrize(
    "methods",
    [["ewc", "dann", "l2sp"], *(pytest.param([n], marks=[pytest.mark.slow, ABOUT[n]]) for n in METHODS)],
    ids=lambda names: "-".join(names),
)


@RANKED
def test_two_processes_are_one(kit: Kit, methods: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the runner, as `devices=2 accelerator=cpu strategy=ddp` does it."""
    from tlresearch.runner import run

    if any(load("method", name).batch_coupled for name in methods):
        return  # it says so
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = [f"dataset.{key}={value}" for key, value in STAGED.items()]
    chosen = [f"method=[{','.join(methods)}]", "optimizer=sgd", "selection=last", "optimizer.lr=0.01", *data]
    net = kit.fitting(methods, ("vit", "bert", "cnn"))
    plain = [override for override in kit.overrides(net) if not override.startswith("optimizer")]
    states = []
    for ranks in ([], ["devices=2", "strategy=ddp"]):
        done = run([*plain, *chosen, *ranks, f"store={kit.place()}", *_given(kit, methods)])
        states.append((tensors(done.model), done))
    (one, first), (two, second) = states
    assert first.identity == second.identity
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")
    assert first.metrics["test"]["rows"] == second.metrics["test"]["rows"] == 48


def _given(kit: Kit, methods: list[str]) -> list[str]:
    return [f"method.{name}.{key}={value}" for name in methods for key, value in kit.options("method", name).items()]


def _sgd() -> dict[str, object]:
    """Linear in the gradient: Adam would make noise of 1e-9 a step of full length."""
    return {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
