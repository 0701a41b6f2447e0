"""Runs that cannot be started from, and what of them cannot be carried on: one message, nothing written."""

import json

from tlresearch.results import lock

CONVNET = ("backbone=convnet", "backbone.width=4", "backbone.layers=2")
HALF = ("dataset=split", "dataset.scenario=class_incremental", "dataset.stages=2")


def change(run, **values):
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(record | values))


def test_bad_sources(train, refused):
    run = train("steps=2").run
    name = run.identity
    assert "no run folder, and no run of store 'runs'" in refused("init_from=nobody")
    assert "RUN:best or RUN:last" in refused(f"init_from={name}:lats")
    assert "init_from: []: must be a run, or a list of at least one run" in refused("init_from=[]")
    assert "must be text" in refused("init_from=12345678901234e5")
    assert "named twice" in refused(f"init_from=[{name},{name}]")
    change(run, status="failed", error="ZeroDivisionError: the sky fell")
    assert "failed (ZeroDivisionError: the sky fell); run it again with retry_failed=true" in refused(
        f"init_from={name}"
    )
    change(run, status="interrupted")
    assert "is interrupted, not done" in refused(f"init_from={name}")
    change(run, status="running")
    held = lock.claim(run.folder)
    assert "is running, not done" in refused(f"init_from={name}")
    held.release()
    change(run, status="done", schema=99)
    assert "newer tlresearch" in refused(f"init_from={name}")
    change(run, schema=2)
    (run.folder / "model.safetensors").unlink()
    assert "has lost its model.safetensors" in refused(f"init_from={name}")
    predictor = train("predictor=majority").run
    assert "is a predictor's and has no weights" in refused(f"init_from={predictor.identity}")


def test_another_body(train, refused):
    run = train("steps=2").run
    message = refused(f"init_from={run.identity}", *CONVNET)
    assert "backbone 'mlp'" in message
    assert "'convnet'" in message
    message = refused(f"init_from={run.identity}", "backbone.width=64")
    assert message == (
        f"init_from: 'runs/{run.identity}': another body than this run's: 'layers.0.0.weight' has shape (256, 64) "
        "there and has shape (64, 64) here; give both the same backbone"
    )
    lora = train("steps=2", "method=[lora]").run
    assert "another body" in refused(f"init_from={lora.identity}", "backbone.layers=3")


def test_a_soup_of_different_architectures(train, refused):
    runs = [train("steps=2", f"backbone.width={width}").run for width in (32, 64)]
    message = refused(f"init_from=[{runs[0].identity},{runs[1].identity}]", "backbone.width=32")
    assert "only equal architectures can be averaged" in message
    assert "(32, 64)" in message
    assert "(64, 64)" in message
    convnet = train(*CONVNET, "steps=2").run
    assert "backbone 'convnet'" in refused(f"init_from=[{runs[0].identity},{convnet.identity}]", "backbone.width=32")


def test_what_cannot_be_carried_on(train, refused):
    run = train("steps=2", "method=[ewc]", "keep=[methods]").run
    source = f"init_from={run.identity}"
    assert "init_heads: 'digt': unknown; did you mean 'digit'?" in refused(source, "init_heads=[digt]")
    message = refused(source, "init_heads=[digit]", "head=mlp")
    assert "its head in" in message
    assert "linear" in message
    assert "(10 there, 5 here)" in refused(source, "init_heads=[digit]", *HALF)
    assert "init_methods: 'replay': unknown; Allowed: none" in refused(source, "init_methods=[replay]")
    message = refused(source, "method=[replay]", "init_methods=[replay]")
    assert "init_methods: 'replay': unknown; Allowed: ewc" in message, "the source had no such method"
    assert "init_methods: ['ewc']: carries on from another run; give init_from=RUN" in refused(
        "method=[ewc]", "init_methods=[ewc]"
    )
    assert "init_heads" in refused("init_heads=[digit]")
    assert "keep: 'weights': unknown" in refused("keep=[weights]")
    assert "a predictor has no weights" in refused(source, "predictor=majority")
    assert "method states cannot be averaged" in refused(
        f"init_from=[{run.identity},other]", "method=[ewc]", "init_methods=[ewc]"
    )
    message = refused(source, "method=[ewc]", "init_methods=[ewc]", "method.ewc.strength=1", "backbone.width=64")
    assert "another body" in message
