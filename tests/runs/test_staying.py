"""Methods that choose or change weights, and those that mix rows, through the real command."""

import json

import pytest
import torch

from tlresearch.training.assemble import assemble, build_stream

STEPS = ("steps=30", "evaluate_every=10", "dataset.labels_per_class=4")


def start_of(run):
    """The model of a run before its first step."""
    stream = build_stream(run.config)
    tasks = stream.stages[0].tasks
    return assemble({**run.config, "method": {}}, stream.spec, tasks, stream.stages[0].train).model.state_dict()


def accuracy(run, split):
    """Of the reported weights, loaded anew, on a split's rows."""
    rows = getattr(run.stream.stages[0], split)
    model = run.model
    preprocess = model.backbone.preprocess("test")
    batch = model.backbone.collate([preprocess(rows[i]) for i in range(len(rows))])
    with torch.no_grad():
        predicted = model(batch.x).logits["digit"].argmax(1)
    return float((predicted == batch.y["digit"]).float().mean())


@pytest.mark.parametrize("backbone", ["mlp", "convnet"])
def test_the_weights_between_start_and_end_are_those_that_are_saved(train, backbone):
    plain = train(f"backbone={backbone}", *STEPS).run
    wise = train(f"backbone={backbone}", *STEPS, "method=[wise_ft]", "method.wise_ft.alphas=[0.25]").run
    start, end, found = start_of(wise), plain.model.state_dict(), wise.model.state_dict()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            expected = end[name] if name.startswith("heads.") else 0.75 * start[name] + 0.25 * end[name]
            torch.testing.assert_close(tensor, expected, msg=name)
    assert plain.metrics["validation"]["accuracy"] == pytest.approx(accuracy(plain, "validation"))
    assert wise.metrics["validation"]["accuracy"] == pytest.approx(accuracy(wise, "validation"))
    assert wise.metrics["test"]["accuracy"] == pytest.approx(accuracy(wise, "test"))
    assert wise.value != plain.value


def test_the_last_weights_are_not_those_that_are_reported(train, start, tensors):
    """`init_from=RUN:last` wants the end of training, which has to be kept."""
    wise = ("selection=last", "method=[wise_ft]", "method.wise_ft.alphas=[0.25]", *STEPS)
    run, kept = train(*wise).run, train(*wise, "keep=[last]", "store=kept").run
    refusal = start(f"{run.folder}:last")
    assert refusal.code == 2 and "has not kept its last weights" in refusal.err
    plain = train("selection=last", *STEPS).run
    for name, tensor in tensors(kept, "last.safetensors").items():
        torch.testing.assert_close(tensor, tensors(plain)[name], msg=name)
    assert start(f"{kept.folder}:last").code == 0


def test_alpha_is_never_worse_on_validation_rows_than_the_end(train):
    plain, wise = train(*STEPS).run, train(*STEPS, "method=[wise_ft]").run
    assert wise.metrics["validation"]["accuracy"] >= plain.metrics["validation"]["accuracy"]


@pytest.mark.parametrize("method", ["swa", "ema"])
def test_averaged_weights_are_those_that_are_saved(train, method):
    overrides = ("backbone=convnet", "selection=last", *STEPS)
    run, plain = train(*overrides, f"method=[{method}]").run, train(*overrides).run
    assert run.metrics["test"]["accuracy"] == pytest.approx(accuracy(run, "test"))
    names = [name for name, _ in plain.model.named_parameters()]
    assert not any(torch.equal(run.model.state_dict()[n], plain.model.state_dict()[n]) for n in names)
    mean, other = (one.model.state_dict()["backbone.layers.0.1.running_mean"] for one in (run, plain))
    assert torch.equal(mean, other) == (method == "ema"), "swa measures statistics anew, ema keeps the last ones"


STACKS = ("ema,mixup", "swa,cutmix,rand_augment", "l2sp,lora", "wise_ft,trivial_augment", "delta,self_distillation")


@pytest.mark.parametrize("methods", STACKS)
def test_stacks(train, methods):
    run = train("backbone=convnet", f"method=[{methods}]", *STEPS).run
    assert list(run.config["method"]) == methods.split(",")
    losses = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert all(torch.tensor([v for v in row.values() if isinstance(v, float)]).isfinite().all() for row in losses)


def test_averages_of_two_kinds_are_refused(refused):
    assert refused("method=[ema,swa]") == "method: 'ema' and 'swa' conflict: choose one of them"
    assert "'wise_ft'" in refused("method=[ema,wise_ft]")


@pytest.mark.parametrize("method", ["mixup", "cutmix", "rand_augment", "trivial_augment"])
def test_texts_are_refused_by_name(refused, folder, tiny_bert_folder, method):
    (folder / "t.csv").write_text("text,label\n" + "".join(f"film {i},{'ab'[i % 2]}\n" for i in range(20)))
    text = ("dataset=text_file", "dataset.path=t.csv", "backbone=transformers")
    message = refused(*text, f"backbone.weights=path:{tiny_bert_folder}", f"method=[{method}]")
    assert message.startswith(f"method.{method}: '{method}': ") and "text" in message


def test_a_backbone_without_classifier_is_refused_by_name(refused):
    one = refused("method=[co_tuning]")
    assert one.startswith("method.co_tuning: 'co_tuning': needs the checkpoint's own classifier")
    both = refused("method=[self_distillation]", "method.self_distillation.to=source")
    assert both.startswith("method.self_distillation.to: 'source': ")
