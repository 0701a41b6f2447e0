"""Operations of whole runs, as their records have them, against counts by hand."""

import json
import os
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.usefixtures("forgotten")

STEPS, ROWS = 3, 8
BASE = (f"steps={STEPS}", f"batch_size={ROWS}", "dataset.labels_per_class=5")
CONVNET = ("backbone=convnet", "backbone.width=4", "backbone.layers=2", "backbone.random_crop=0", *BASE)

FIRST, SECOND, HEAD = 2 * 64 * 9 * 1 * 4, 2 * 16 * 9 * 4 * 8, 2 * 8 * 10
"""A row's operations: 3 × 3 convolutions 1 → 4 on 8 × 8 places and 4 → 8 on 4 × 4, and the head on 8 features."""


@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("finetune", 2 * FIRST + 3 * SECOND + 3 * HEAD),  # nobody asks for the gradient of the pixels
        ("probe", FIRST + SECOND + 2 * HEAD),
        ("partial", FIRST + 2 * SECOND + 3 * HEAD),
    ],
)
def test_convolutions(train, method, row):
    more = ("method.partial.blocks=1",) if method == "partial" else ()
    cost = train(*CONVNET, f"method=[{method}]", *more, "cache.features=never").run.cost
    assert cost["flops"] == STEPS * ROWS * row
    assert cost["flops_features"] == 0


def test_steps_on_kept_features_cost_the_head_and_the_features_are_counted_once(train):
    first = train(*CONVNET, "method=[probe]", "cache.features=always").run
    computed = first.record["features"]["rows_computed"]
    assert first.record["features"]["used"] and computed > STEPS * ROWS
    assert first.cost["flops"] == STEPS * ROWS * 2 * HEAD
    assert first.cost["flops_features"] == computed * (FIRST + SECOND)
    second = train(*CONVNET, "method=[probe]", "cache.features=always", "optimizer.lr=0.1").run
    assert second.record["features"]["rows_computed"] == 0
    assert (second.cost["flops"], second.cost["flops_features"]) == (first.cost["flops"], 0)


LENGTH, WIDTH, INNER, LAYERS = 5, 32, 64, 2
LINEAR = 2 * LENGTH * WIDTH * WIDTH
"""One of the four projections of a block, for a text of [CLS], three words and [SEP]."""
FEED = 2 * LENGTH * WIDTH * INNER
"""One of the two layers of the feed-forward part."""
PRODUCT = 2 * LENGTH * LENGTH * WIDTH
"""Q Kᵀ or A V of all heads; two forward and five backward."""
ANSWER = 2 * WIDTH * 2
RANK = 4
LOW = 2 * LENGTH * WIDTH * RANK
"""A or B of a low-rank update."""
BOTTLENECK = 2 * LENGTH * WIDTH * 4
"""Into or out of an adapter's four units."""


@pytest.fixture
def texts(folder, tiny_bert_folder):
    """Overrides of a tiny BERT on texts of one length."""
    words = ("good film fine", "dull plot bad")
    (folder / "mails.csv").write_text("text,label\n" + "".join(f"{words[i % 2]},{'ab'[i % 2]}\n" for i in range(60)))
    network = ("backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}")
    return (*network, "dataset=text_file", "dataset.path=mails.csv", *BASE)


BLOCK = 4 * LINEAR + 2 * FEED + 2 * PRODUCT
"""A block forward."""


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        (("method=[finetune]",), LAYERS * (12 * LINEAR + 6 * FEED + 7 * PRODUCT) + 3 * ANSWER),
        (("method=[probe]",), LAYERS * BLOCK + 2 * ANSWER),
        # the last block learns: its queries, keys and values need no gradient of their input
        (
            ("method=[partial]", "method.partial.blocks=1"),
            BLOCK + 3 * 2 * LINEAR + 3 * LINEAR + 6 * FEED + 7 * PRODUCT + 3 * ANSWER,
        ),
        # frozen weights need the gradient of their inputs alone, and where nothing learns below not even that
        (
            ("method=[lora]", f"method.lora.rank={RANK}"),
            (3 * LINEAR + 2 * LINEAR + 4 * FEED + 7 * PRODUCT + 2 * (2 + 3) * LOW)
            + (8 * LINEAR + 4 * FEED + 7 * PRODUCT + 2 * (3 + 3) * LOW)
            + 3 * ANSWER,
        ),
        # below the first adapter nothing learns, above it frozen weights need the gradient of their inputs
        (
            ("method=[adapter]", "method.adapter.reduction=8"),
            (BLOCK + (2 + 3) * BOTTLENECK) + (8 * LINEAR + 4 * FEED + 7 * PRODUCT + (3 + 3) * BOTTLENECK) + 3 * ANSWER,
        ),
        # biases learn down to the first norm: inputs' gradients everywhere, and of no matrix
        (("method=[bitfit]",), LAYERS * (8 * LINEAR + 4 * FEED + 7 * PRODUCT) + 3 * ANSWER),
    ],
    ids=["finetune", "probe", "partial", "lora", "adapter", "bitfit"],
)
def test_transformer_blocks(train, texts, overrides, row):
    cost = train(*texts, *overrides, "cache.features=never").run.cost
    assert cost["flops"] == STEPS * ROWS * row


def test_steps_of_the_last_block_on_kept_activations_are_those_of_this_block_alone(train, texts):
    run = train(*texts, "method=[partial]", "method.partial.blocks=1", "cache.features=always").run
    assert run.record["features"]["used"]
    block = 3 * 2 * LINEAR + 3 * LINEAR + 6 * FEED + 7 * PRODUCT  # nobody asks for the gradient of its input
    assert run.cost["flops"] == STEPS * ROWS * (block + 3 * ANSWER)
    assert run.cost["flops_features"] == run.record["features"]["rows_computed"] * BLOCK


def test_replayed_rows_are_rows(train):
    sizes = [64 * 256, 256 * 256, 256 * 5]
    split = ("dataset=split", "dataset.stages=2", "dataset.scenario=domain_incremental", "method=[replay]")
    run = train(*BASE, *split, "method.replay.share=0.5", "backbone.width=256", "backbone.layers=2").run
    rows = STEPS * ROWS + STEPS * (ROWS + ROWS // 2)  # none in the first stage, half as many again in the second
    assert run.cost["flops"] == rows * (6 * sum(sizes) - 2 * sizes[0])


def test_terms_that_are_combined_have_a_backward_pass_each(train, plugin):
    plugin(
        "both.py",
        """
        from tlresearch import Method, register

        @register("method", "both")
        class Both(Method):
            def loss(self, model, batch, out, clock):
                return {"short": out.features.pooled.square().mean()}

            def combine(self, gradients):
                return sum(gradients.values())
        """,
    )
    first, second, head = 2 * 64 * 256, 2 * 256 * 256, 2 * 256 * 10
    run = train(*BASE, "method=[both]", "backbone.width=256", "backbone.layers=2").run
    body = first + 2 * second  # the gradients of weights, and of the second layer's input
    assert run.cost["flops"] == STEPS * ROWS * (first + second + head + 2 * body + 2 * head)


def test_waiting_for_data_is_a_phase_of_its_own(train, monkeypatch):
    """By a clock on which a batch takes a second and a step ten."""
    from tlresearch.training import cost
    from tlresearch.training.data import Prepared
    from tlresearch.training.trainer import Trainer

    now = [0.0]

    def after(seconds, plain):
        def slow(*arguments):
            now[0] += seconds
            return plain(*arguments)

        return slow

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Prepared, "batch", after(1.0, Prepared.batch))
    monkeypatch.setattr(Trainer, "step", after(10.0, Trainer.step))
    found = train(*BASE).run.cost
    assert found["seconds_wait"] == STEPS
    assert found["seconds_train"] == 10 * STEPS + 1  # and the batch of the trial pass
    assert found["seconds_evaluate"] >= 2


def test_seconds_of_an_interrupted_run_are_carried_over(train, folder, monkeypatch):
    """A process that ends in the middle of a stage leaves what it has spent there, also of the phase it was in."""
    from tlresearch.training import cost
    from tlresearch.training.trainer import Trainer

    now, plain, stop = [0.0], Trainer.step, [2]

    def slow(*arguments):
        now[0] += 10.0
        if not stop[0]:
            raise KeyboardInterrupt
        stop[0] -= 1
        return plain(*arguments)

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Trainer, "step", slow)
    overrides = (*BASE, "checkpoint_seconds=0", "log_every=1", f"store={folder / 'runs'}")
    train(*overrides)
    (home,) = (folder / "runs").iterdir()
    assert json.loads((home / "run.json").read_text())["status"] == "interrupted" and os.listdir(home)
    stop[0] = STEPS
    assert train(*overrides).run.cost["seconds_train"] == 10 * STEPS  # two steps before, one after
