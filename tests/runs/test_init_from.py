"""A run that starts from the weights of others: what is carried on and what is new."""

import torch

import tlresearch
from tlresearch.results.identity import identity as identify

CONVNET = ("backbone=convnet", "backbone.width=4", "backbone.layers=2")
NO_STEP = ("optimizer=sgd", "optimizer.lr=1e-30")  # too little to change any weight: what is saved is the start
HALF = ("dataset=split", "dataset.scenario=class_incremental", "dataset.stages=2")


def test_body_and_head_are_carried_on_bit_by_bit(train, tensors, start):
    source = train("steps=5").run
    expected = tensors(source)
    found = tensors(start(source.identity, "seed=1").run)
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    other = tensors(train(*NO_STEP, "steps=1", "seed=1").run)
    assert not all(torch.equal(other[name], expected[name]) for name in expected), "or nothing was carried on"


def test_statistics_of_batch_norm_are_carried_on(train, tensors, start):
    source = train(*CONVNET, "steps=5").run
    found = tensors(start(source.folder, *CONVNET, "method=[probe]", "init_heads=[]").run)
    expected = tensors(source)
    body = [name for name in expected if name.startswith("backbone.")]
    assert any("running_mean" in name for name in body)
    assert all(torch.equal(found[name], expected[name]) for name in body)


def test_a_probe_on_carried_weights_reloads_to_equal_logits(train, tensors, logits, folder):
    """The body comes from a weights file first; what is frozen and carried over it must be in the run's own folder."""
    from safetensors.torch import save_file

    base = train(*CONVNET, "steps=2", "seed=5").run
    body = {n.removeprefix("backbone."): t for n, t in tensors(base).items() if n.startswith("backbone.")}
    save_file(body, folder / "base.safetensors")
    weights = "backbone.weights=path:base.safetensors"
    source = train(*CONVNET, weights, "steps=5").run
    probe = train(*CONVNET, weights, "steps=3", "method=[probe]", f"init_from={source.identity}").run
    saved, expected = tensors(probe), tensors(source)
    moved = {n for n in expected if n.startswith("backbone.") and not torch.equal(expected[n], body[n[9:]])}
    assert moved
    assert moved <= saved.keys()
    plain = train(*CONVNET, weights, "steps=3", "method=[probe]").run
    assert not any(name.startswith("backbone.") for name in tensors(plain)), "without init_from nothing of it is saved"
    before = logits(probe)
    (source.folder / "model.safetensors").unlink()  # the source is not needed any more
    assert torch.equal(logits(probe), before)
    written = torch.cat([v for k, v in tensors(probe, "logits.safetensors").items() if k.endswith("/logits")])
    rows = probe.stream.stages[0].test
    answers = [a.logits["digit"] for a in probe.predict(rows.inputs[rows.positions][:20].numpy())]
    torch.testing.assert_close(torch.stack(answers), written[:20])


def test_heads(train, tensors, start):
    source = train("steps=3").run
    name = "heads.head_digit.output.weight"
    same = tensors(source)[name]
    assert torch.equal(tensors(start(source.identity).run)[name], same)
    assert not torch.equal(tensors(start(source.identity, "init_heads=[]").run)[name], same)
    asked = start(source.identity, "init_heads=[digit]").run
    assert torch.equal(tensors(asked)[name], same)
    assert asked.identity == start(source.identity).run.identity, "the rule says the same"
    assert asked.record["start"]["heads"] == ["digit"]
    other = start(source.identity, "head=mlp").run
    assert other.record["start"]["heads"] == []
    fewer = start(source.identity, *HALF).run  # the first stage has half of the labels
    assert fewer.record["start"]["heads"] == []


def test_lora_to_plain_carries_the_merged_weights(train, logits, tensors, start):
    source = train("steps=5", "method=[lora]", "method.lora.rank=2").run
    plain = start(source.identity).run
    assert not any("lora" in name for name in tensors(plain))
    torch.testing.assert_close(logits(plain), logits(source))
    body = {name: tensor for name, tensor in tensors(source).items() if "base_layer" in name}
    a, b = (tensors(source)[f"backbone.layers.0.0.lora_{part}.default.weight"] for part in "AB")
    by_hand = body["backbone.layers.0.0.base_layer.weight"] + 16 / 2 * b @ a
    torch.testing.assert_close(tensors(plain)["backbone.layers.0.0.weight"], by_hand)


def test_lora_to_lora_goes_on_and_other_ranks_start_on_the_merged_weights(train, logits, tensors, start):
    lora = ("method=[lora]", "method.lora.rank=2")
    source = train("steps=5", *lora).run
    same = start(source.identity, *lora).run
    assert all(torch.equal(tensors(same)[name], tensor) for name, tensor in tensors(source).items())
    other = start(source.identity, "method=[lora]", "method.lora.rank=3").run
    assert tensors(other)["backbone.layers.0.0.lora_A.default.weight"].shape[0] == 3
    torch.testing.assert_close(logits(other), logits(source))


def test_plain_to_lora_starts_with_the_same_outputs(train, logits, start):
    source = train("steps=5").run
    assert torch.equal(logits(start(source.identity, "method=[lora]").run), logits(source))


def test_a_soup_is_the_mean_of_the_weights(train, tensors, start):
    runs = [train("steps=4", f"seed={seed}", "init_heads=null").run for seed in (0, 1, 2)]
    found = tensors(start(f"[{','.join(run.identity for run in runs)}]").run)
    files = [tensors(run) for run in runs]
    assert found.keys() == files[0].keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (files[0][name] + files[1][name] + files[2][name]) / 3)
    turned = start(f"[{','.join(run.identity for run in reversed(runs))}]")
    assert "already done" in turned.err, "the order does not matter"


def test_a_soup_of_one_run_is_that_run(train, start):
    source = train("steps=4").run
    assert start(f"[{source.identity}]").run.identity == start(source.identity).run.identity


def test_a_soup_of_loras_averages_merged_weights(train, tensors, start):
    runs = [train("steps=4", f"seed={seed}", "method=[lora]", f"method.lora.rank={seed + 1}").run for seed in (0, 1)]
    name = "backbone.layers.0.0"
    merged = []
    for run in runs:
        file = tensors(run)
        a, b = (file[f"{name}.lora_{part}.default.weight"] for part in "AB")
        merged.append(file[f"{name}.base_layer.weight"] + 16 / len(a) * b @ a)
    found = tensors(start(f"[{runs[0].identity},{runs[1].identity}]").run)
    torch.testing.assert_close(found[f"{name}.weight"], (merged[0] + merged[1]) / 2)


def test_null_leaves_the_identity_as_it_was():
    from tlresearch.runner import resolve

    config = resolve(tlresearch.compose(["backbone=mlp"]))
    new = ("init_from", "init_heads", "init_methods", "keep", "pipeline")
    before = {key: value for key, value in config.items() if key not in new}
    assert len(before) == len(config) - len(new)
    assert identify(config, "data", "weights", [0.1]) == identify(before, "data", "weights", [0.1])
    assert identify({**config, "keep": ["last"]}, "data", "weights", [0.1]) == identify(
        before, "data", "weights", [0.1]
    )


def test_content_of_the_source_counts(train, start):
    sources = [train("steps=2", f"seed={seed}").run for seed in (0, 1)]
    runs = [start(source.identity).run for source in sources]
    assert len({run.identity for run in runs} | {train(*NO_STEP, "steps=1").run.identity}) == 3
    assert runs[0].record["start"]["runs"] == [f"{sources[0].identity}:best"]
