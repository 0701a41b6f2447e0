"""What a run keeps for others to start from: the last weights, and the states of its methods."""

import pytest
import torch

import tlresearch

CONVNET = ("backbone=convnet", "backbone.width=4", "backbone.layers=2")
FIRST = ("steps=12", "evaluate_every=4", "schedule=constant", "selection=first")


@pytest.fixture
def first(plugin):
    """A rule that reports the first evaluation, so that best and last are never the same."""
    plugin(
        "first.py",
        """
        from tlresearch import register
        from tlresearch.core.tracker import Selection

        @register("selection", "first")
        class First(Selection):
            def best(self, history):
                return 0
        """,
    )


def make_session(overrides):
    """A session as the runner makes it, not run."""
    from tlresearch.core.seeding import reseed
    from tlresearch.runner import prepare, resolve
    from tlresearch.training.launch import make_fabric
    from tlresearch.training.session import Session

    config = resolve(tlresearch.compose(["backbone=mlp", "accelerator=cpu", "steps=1", *overrides]))
    prepared = prepare(config)
    reseed(config["seed"])
    return Session(config, prepared.stream, make_fabric(config), prepared.rates, lambda values, step: None)


def test_last_weights(train, tensors, start, first):
    source = train(*FIRST, "keep=[last]").run
    assert source.identity == train(*FIRST, "store=other").run.identity, "what is kept changes no number"
    assert source.record["stages"][0]["selected"] == 0
    straight = tensors(train(*FIRST[:-1], "selection=last").run)
    reported, last = start(source.identity).run, start(f"{source.identity}:last").run
    assert reported.identity != last.identity
    for run, expected in ((reported, tensors(source)), (last, straight)):
        assert all(torch.equal(tensors(run)[name], tensor) for name, tensor in expected.items())
    assert start(f"{source.identity}:best").run.identity == reported.identity
    same = train("steps=4", "selection=last").run
    assert start(f"{same.identity}:last").code == 0, "nothing had to be kept"


def test_what_was_not_kept_is_asked_for_and_then_made(train, refused, start, first):
    settings = (*FIRST, "method=[ewc]")
    source = train(*settings).run
    message = refused(f"init_from={source.identity}:last")
    assert "has not kept its last weights; run it again with keep=[last]" in message
    message = refused(f"init_from={source.identity}", "method=[ewc]", "init_methods=[ewc]")
    assert "has not kept its methods' states; run it again with keep=[methods]" in message
    again = train(*settings, "keep=[last,methods]").run
    assert again.identity == source.identity
    assert not again.reused
    assert again.metrics == source.metrics
    assert start(f"{source.identity}:last", "method=[ewc]", "init_methods=[ewc]").code == 0
    assert "already done" in train(*settings, "keep=[last]").err


def test_method_state_is_carried_on_where_asked(train, tensors, history):
    """EWC's penalty holds the first stage already; what the Fisher information says of a new head is left out."""
    source = train("steps=3", "method=[ewc,replay]", "keep=[methods]").run
    both = ("steps=4", "log_every=1", "method=[ewc,replay]", f"init_from={source.identity}", "seed=1")

    def terms(run):
        return {key for row in history(run.folder) for key in row}

    without, asked = train(*both).run, train(*both, "init_methods=[ewc]").run
    assert without.identity != asked.identity
    assert "train/ewc/penalty" not in terms(without)
    assert "train/ewc/penalty" in terms(asked)
    kept = tensors(source, "methods.safetensors")
    assert any("head_digit" in name for name in kept)
    new = train(*both, "init_methods=[ewc,replay]", "init_heads=[]").run
    assert new.record["start"]["methods"].keys() == {"ewc", "replay"}


def test_states_are_those_that_the_source_ended_with(train, folder):
    from tlresearch.training.kept import read_methods
    from tlresearch.training.session import Session

    source = train("steps=3", "method=[ewc,replay]", "keep=[methods]").run
    session = make_session(["method=[ewc,replay]", f"init_from={source.identity}", "init_methods=[ewc,replay]"])
    assert isinstance(session, Session)
    states = read_methods(source.folder)
    assert states["ewc"]["count"] == 1
    for name, method in session.methods.items():
        found = method.state_dict()
        assert found.keys() == states[name].keys()
        for key, value in states[name].items():
            assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value


def test_state_about_a_head_that_is_new_is_left_out(train):
    source = train("steps=3", "method=[ewc,replay]", "keep=[methods]").run
    carried = ["method=[ewc,replay]", f"init_from={source.identity}", "init_methods=[ewc,replay]"]
    session = make_session([*carried, "init_heads=[]"])
    assert not any("head_digit" in name for name in session.methods["ewc"].penalties[0])
    assert "digit" in session.methods["replay"].stages[0].y, "its labels are the same ones"


@pytest.fixture
def images(folder):
    """images("a", "b") → the overrides of a data set with these labels."""
    from PIL import Image

    def make(*labels):
        for label in labels:
            (folder / "".join(labels) / label).mkdir(parents=True)
            for i in range(12):
                Image.new("L", (16, 16), 20 * i).save(folder / "".join(labels) / label / f"{i}.png")
        return *CONVNET, "dataset=image_folder", f"dataset.path={''.join(labels)}", "method=[replay]"

    return make


def test_a_state_that_does_not_fit(train, refused, images):
    """Rows that replay kept are of another size than the new run's."""
    data = images("a", "b")
    source = train(*data, "steps=2", "keep=[methods]", "backbone.image_size=8").run
    message = refused(*data, f"init_from={source.identity}", "init_methods=[replay]", "backbone.image_size=12")
    assert message.startswith(f"init_methods: 'replay': its state of 'runs/{source.identity}' does not fit this run")


def test_kept_rows_have_no_labels_where_labels_are_others(train, images):
    source = train(*images("a", "b"), "steps=2", "keep=[methods]", "backbone.image_size=8").run
    carried = (f"init_from={source.identity}", "init_methods=[replay]", "backbone.image_size=8")
    session = make_session([*images("c", "d"), *carried])
    (rows,) = session.methods["replay"].stages
    assert rows.rows > 0
    assert rows.y == {}
    assert train(*images("e", "f"), *carried, "steps=2").code == 0


def test_an_interrupted_run_goes_on_from_where_it_was(train, tensors, plugin, monkeypatch, first):
    plugin(
        "stop.py",
        """
        import os
        import signal

        from tlresearch import Method, register

        @register("method", "stop")
        class Stop(Method):
            def after_step(self, model, clock):
                if os.environ.get("STOP") == str(clock.step):
                    os.kill(os.getpid(), signal.SIGINT)
        """,
    )
    source = train(*FIRST, "keep=[last]").run
    settings = (f"init_from={source.identity}:last", "seed=1", "method=[stop]", "steps=8", "log_every=1")
    settings = (*settings, "checkpoint_seconds=0", "evaluate_every=2", "keep=[last]")
    straight = train(*settings, "store=other", f"init_from={source.folder}:last").run
    monkeypatch.setenv("STOP", "5")
    assert train(*settings).code == 130
    monkeypatch.delenv("STOP")
    resumed = train(*settings).run
    assert resumed.identity == straight.identity, "where the source lies does not count"
    for name in ("model.safetensors", "last.safetensors"):
        assert (resumed.folder / name).exists() == (straight.folder / name).exists()
        if (resumed.folder / name).exists():
            found, expected = tensors(resumed, name), tensors(straight, name)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], expected[key]) for key in found)
