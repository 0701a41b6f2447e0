"""Every registered method on a tiny CNN, ViT or BERT: it trains, moves only what it declares, repeats and resumes.

On the network it is at home on (`Kit.home`); on all three by the mark `matrix`, and where one plugin is checked.
"""

import json
import math

import pytest
import torch

from tlresearch import Clock, Method
from tlresearch.training.session import Session

from . import registered
from .declared import check_declared, check_training
from .harness import NETS, STAGED, Kit, Stop, numbers, same, tensors

every_method = registered.every("method", "method", registered.methods())
STOPS = (1, 5)
"""Steps that two processes take before they are killed: one within the first stage, the next within the second."""


@every_method
def test_a_network_that_does_not_fit_is_refused_by_name(kit: Kit, method: str) -> None:
    refusals = [kit.refusal(net, method) for net in NETS]
    assert "" in refusals, "it fits no network"
    for refusal in filter(None, refusals):
        assert refusal.startswith(f"method.{method}: ") and "\n" not in refusal


@every_method
def test_steps_are_finite(kit: Kit, method: str, net: str) -> None:
    run = kit.straight(net, method)
    values = [value for entry in run.log for name, value in entry.items() if name.startswith("train/")]
    assert len([entry for entry in run.log if "train/loss" in entry]) == 8
    assert all(math.isfinite(value) for value in values)
    assert all(tensor.isfinite().all() for tensor in run.state.values())


@every_method
def test_loss_falls(kit: Kit, method: str, net: str) -> None:
    run = kit.run(kit.config(net, {method: {}}, {"target": True}, steps=30, evaluate_every=30))
    assert len(run.losses("task/shape")) == 30
    check_training(run, terms=("task/shape",), margin=0.97)


@every_method
def test_only_what_is_declared_moves(kit: Kit, method: str, net: str) -> None:
    check_declared(kit.straight(net, method))


@every_method
def test_kept_activations_change_nothing(kit: Kit, method: str, net: str) -> None:
    """What rests in front is computed, or its activations are read where the cache finds that the same."""
    config, plain = kit.config(net, {method: {}}), kit.straight(net, method)
    run = kit.run({**config, "cache": {**config["cache"], "features": "always"}})
    assert not plain.results["features"]["used"] and plain.results["features"]["why"] == "cache.features=never"
    assert run.state.keys() == plain.state.keys()
    for name, tensor in plain.state.items():
        torch.testing.assert_close(run.state[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


@every_method
def test_what_no_loss_reaches_is_named_and_rests(kit: Kit, method: str, net: str) -> None:
    session = kit.start(kit.config(net, {method: {}}), [])
    session.model.backbone.blocks()[-1].register_parameter("idle", torch.nn.Parameter(torch.ones(3)))
    name = next(n for n, _ in session.model.named_parameters() if n.endswith(".idle"))
    session.run(kit.place())
    parameter = session.model.get_parameter(name)
    if type(session.methods[method]).loss is Method.loss:  # an own term may reach everything
        assert not parameter.requires_grad
        assert torch.equal(parameter, torch.ones(3))
        declared = session.methods[method].trainable(session.model, session._start())
        if declared is None or any(parameter is p for p in declared):
            assert session.trainer.unreached == [name]


@every_method
def test_same_seed_same_numbers(kit: Kit, method: str, net: str) -> None:
    first, second = kit.straight(net, method), kit.run(kit.config(net, {method: {}}))
    same(first.start, second.start)
    same(first.state, second.state)
    assert numbers(first.results) == numbers(second.results)
    timed = "train/rows_per_second"
    assert [{**values, timed: 0} for values in first.log] == [{**values, timed: 0} for values in second.log]


@every_method
def test_stopped_and_resumed_is_straight(kit: Kit, method: str, net: str) -> None:
    config, folder = kit.config(net, {method: {}}, checkpoint_seconds=0), kit.place()
    for steps in STOPS:
        with pytest.raises(Stop):
            kit.run(config, folder, stop=steps)
    resumed, straight = kit.run(config, folder), kit.straight(net, method)
    assert len([entry for entry in resumed.log if "train/loss" in entry]) == 8 - sum(STOPS)
    same(straight.state, resumed.state)
    assert numbers(straight.results) == numbers(resumed.results)


@every_method
def test_state_is_tensors_and_json_and_comes_back(kit: Kit, method: str, net: str) -> None:
    run = kit.straight(net, method)
    trained = run.session.methods[method]
    state = trained.state_dict()
    json.dumps({key: value for key, value in state.items() if not isinstance(value, torch.Tensor)})
    other = kit.start(kit.config(net, {method: {}}, seed=7), []).methods[method]
    other.load_state_dict({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()})
    again = other.state_dict()
    split = [{k: v for k, v in s.items() if isinstance(v, torch.Tensor)} for s in (state, again)]
    same(*split)
    assert state.keys() == again.keys()
    assert all(state[key] == again[key] for key in state.keys() - split[0].keys())
    told = [_what_it_does(run.session, one) for one in (trained, other)]
    same(*told)


def _what_it_does(session: Session, method: Method) -> dict[str, torch.Tensor]:
    """The rows and terms that a method adds to one batch, on the trained model."""
    rows = next(session.trainer._batches(session.prepared["train"], session.prepared.get("unlabelled"), 0, 1))
    clock = Clock(1, 0, 1, 4, {})
    torch.manual_seed(0)
    batch = method.batch(session.model, rows, clock)
    terms = method.loss(session.model, batch, session.model(batch.x), clock)
    return {"index": batch.index, "origin": batch.origin, **{name: term.detach() for name, term in terms.items()}}


@every_method
def test_saved_and_loaded_under_another_seed_answers_the_same(kit: Kit, method: str, net: str) -> None:
    from safetensors.torch import load_file

    from tlresearch.training.loading import load_model

    run = kit.straight(net, method)
    model = load_model(run.folder, {**run.session.config, "seed": 99}, run.session.stream.spec)
    saved = load_file(run.folder / "logits.safetensors")
    differing = kit.start({**run.session.config, "seed": 99}, []).model
    assert any(not torch.equal(value, tensors(differing)[name]) for name, value in run.start.items())
    for number, stage in enumerate(run.session.stream.stages):
        rows = run.session.tests[number]
        with torch.no_grad():
            outs = [model(rows.batch(part).x).logits for part in torch.arange(len(rows)).split(8)]
        for task in stage.tasks:
            logits = torch.cat([out[task.name] for out in outs])
            assert torch.equal(logits, saved[f"{stage.name}/{task.name}/logits"]), task.name


@every_method
def test_runs_in_bfloat16(kit: Kit, method: str, net: str) -> None:
    run = kit.run(kit.config(net, {method: {}}, precision="bf16-mixed", steps=3))
    assert all(math.isfinite(loss) for loss in run.losses("loss"))
    assert all(tensor.dtype != torch.bfloat16 for tensor in run.state.values())


@every_method
def test_no_label_of_target_or_test_is_read(kit: Kit, method: str, net: str) -> None:
    poisoned = kit.run(kit.config(net, {method: {}}, {**STAGED, "poison": ["target", "test"]}))
    straight = kit.straight(net, method)
    same(straight.state, poisoned.state)
    told = [[(row["selected"], row["validation"]) for row in run.results["stages"]] for run in (straight, poisoned)]
    assert told[0] == told[1]
