"""Activations of a frozen front: equal to the plain path, shared, told apart by all they depend on, refused by name."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tlresearch.training.memory import memory

pytestmark = pytest.mark.usefixtures("forgotten")

LONG = ("the film was very good , fine .", "a dull plot , not good , not good , bad .", "bad film .", "fine ! it is .")


@pytest.fixture
def texts(folder, tiny_bert_folder):
    """Overrides of a tiny BERT on 48 texts of unequal length."""
    with open(folder / "mails.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([f"{LONG[i % 4]} {'very ' * (i % 7)}{'x' * (i // 4)}", "ab"[i % 2]] for i in range(48))
    model = ("backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}")
    return (*model, "dataset=text_file", "dataset.path=mails.csv", "epochs=3", "batch_size=8")


@pytest.fixture
def same(tensors, history):
    """same(run, other): metrics, histories and weights within 1e-5."""

    def check(run, other):
        for name, value in run.metrics["test"].items():
            assert value == pytest.approx(other.metrics["test"][name], abs=1e-5), name
        for one, two in zip(history(run.folder), history(other.folder), strict=True):
            assert one == pytest.approx(two, abs=1e-5)
        found, expected = tensors(run), tensors(other)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)

    return check


def used(run):
    return run.record["features"]


METHODS = {
    "probe": (("method=[probe]",), 2, True),
    "mlp head, max pooling": (("method=[probe]", "head=mlp", "head.pooling=max"), 2, True),
    "prototype": (("method=[probe]", "head=prototype", "cache.features=always"), 2, True),
    "partial": (("method=[partial]", "method.partial.blocks=1"), 1, False),
    "partial with averaged weights": (("method=[partial,ema]", "method.partial.blocks=1"), 1, False),
    "LoRA in the top block": (("method=[lora]", "method.lora.targets='layer.1.*query'"), 1, False),
    "adapters in the top block": (("method=[adapter]", "method.adapter.blocks='layer.1'"), 1, False),
    "gradual unfreezing": (("method=[gradual_unfreezing]",), 0, None),
}


@pytest.mark.parametrize("name", METHODS)
def test_equal_to_the_plain_path(train, texts, same, name):
    overrides, blocks, pooled = METHODS[name]
    plain = train(*texts, *overrides, "cache.features=never", "store=plain").run
    cached = train(*texts, *overrides, "store=cached").run
    assert used(plain) == {"used": False, "why": "cache.features=never", "rows_computed": 0}
    assert cached.identity == plain.identity
    same(cached, plain)
    if blocks:
        assert (used(cached)["used"], used(cached)["blocks"], used(cached)["pooled"]) == (True, blocks, pooled)
        assert used(cached)["rows_computed"] == 48 and "pays" in used(cached)["why"]
    else:  # the last epoch moves the first block: in between two cuts were made
        assert len(list((cached.folder.parent / "features").iterdir())) >= 4
        assert not used(cached)["used"] and used(cached)["why"] == "its first weights learn"


def test_images_equal_to_the_plain_path(train, same):
    network = ("backbone=timm", "backbone.model=resnet10t", "backbone.image_size=64")
    model = (*network, "dataset.labels_per_class=4", "steps=6", "evaluate_every=3")
    overrides = (*model, "method=[partial]", "method.partial.blocks=1", "bn=eval", "seed=3")
    plain = train(*overrides, "cache.features=never", "store=plain").run
    cached = train(*overrides, "store=cached", "cache.features=always").run
    assert used(cached)["used"] and not used(cached)["pooled"] and used(cached)["blocks"] >= 1
    same(cached, plain)


def test_later_runs_compute_nothing(train, texts):
    first = train(*texts, "method=[probe]").run
    assert used(first)["rows_computed"] == 48
    others = ("optimizer.lr=0.1", "head=mlp", "seed=5", "dataset.labels_per_class=3", "head=prototype", "patience=1")
    for other in others:
        assert used(train(*texts, "method=[probe]", other).run)["rows_computed"] == 0, other
    memory.clear()  # as in another process
    assert used(train(*texts, "method=[probe]", "optimizer.lr=0.2").run)["rows_computed"] == 0


@pytest.mark.parametrize(
    "change",
    ["backbone.max_length=5", "head.pooling=cls", "cache.dtype=float16", "method=[partial]", "precision=bf16-mixed"],
)
def test_what_activations_depend_on_is_in_their_key(train, texts, change):
    overrides = (*texts, "method=[probe]", "cache.features=always")
    assert used(train(*overrides).run)["rows_computed"] == 48
    more = ("method.partial.blocks=1",) if "partial" in change else ()
    changed = train(*(o for o in overrides if o.partition("=")[0] != change.partition("=")[0]), change, *more).run
    assert used(changed)["used"] and used(changed)["rows_computed"] == 48, used(changed)


def test_weights_rows_and_libraries_are_in_the_key(train, texts, tiny_bert_folder, folder, monkeypatch):
    overrides = (*texts, "method=[probe]")
    assert used(train(*overrides).run)["rows_computed"] == 48
    other = folder / "bert"
    shutil.copytree(tiny_bert_folder, other)
    state = load_file(other / "model.safetensors")
    state["embeddings.LayerNorm.bias"] += 1
    save_file(state, other / "model.safetensors")
    assert used(train(*overrides, f"backbone.weights=path:{other}").run)["rows_computed"] == 48
    lines = (folder / "mails.csv").read_text().splitlines(keepends=True)
    (folder / "mails.csv").write_text("".join([*lines[:-1], "another film entirely,b\n"]))
    assert used(train(*overrides).run)["rows_computed"] == 1, "one row is new"
    monkeypatch.setattr("tlresearch.training.feature_key._version", lambda name: "9.9")
    assert used(train(*overrides, "optimizer.lr=0.1").run)["rows_computed"] == 48


def test_sets_that_are_preprocessed_differently_are_told_apart(train, texts):
    train(*texts, "method=[probe]")
    keys = [json.loads(file.read_text()) for file in (p / "key.json" for p in _features()) if file.exists()]
    assert {key["split"] for key in keys} == {"train", "test"}


def _features():
    return Path("runs/features").iterdir()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_computed_again(train, texts, same, damage, caplog):
    first = train(*texts, "method=[probe]").run
    for file in [f for entry in _features() for f in entry.glob("*.safetensors")]:
        content = file.read_bytes()
        changed = {"cut": content[:-7], "empty": b"", "flipped": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]}
        file.write_bytes(changed[damage])
    memory.clear()
    again = train(*texts, "method=[probe]", "rerun_stale=true", "log_every=49").run
    assert again.folder == first.folder
    other = train(*texts, "method=[probe]", "clip=1e9").run
    assert used(other)["rows_computed"] == 48 and "is damaged; its rows are computed again" in caplog.text
    assert other.metrics["test"] == pytest.approx(first.metrics["test"], abs=1e-5)


def test_room_is_bounded(train, texts):
    train(*texts, "method=[probe]", "store=room")
    size = sum(f.stat().st_size for f in _below("room/features"))
    limit = f"cache.max_gb={1.5 * size / 1e9}"
    memory.clear()
    second = train(*texts, "method=[probe]", "backbone.max_length=6", limit, "store=room").run
    assert used(second)["used"]
    left = sum(f.stat().st_size for f in _below("room/features"))
    assert left <= 1.5 * size, "the entries unused for longest made room"
    none = train(*texts, "method=[probe]", "cache.max_gb=1e-6", "seed=9", "store=other").run
    assert not used(none)["used"] and "cache.max_gb" in used(none)["why"] and "GB" in used(none)["why"]
    assert not list(_below("other/features"))


def _below(place):
    return [file for file in Path(place).rglob("*.safetensors") if file.is_file()]


def test_why_it_is_not_used_stands_in_the_record(train, texts, plugin):
    plugin("mixer.py", MIXER)
    augmented = train("backbone=convnet", "method=[probe]", "cache.features=always").run
    assert used(augmented)["why"] == "training rows are augmented"
    normalised = train("backbone=convnet", "backbone.random_crop=0", "method=[probe]", "bn=train").run
    assert "by the batch" in used(normalised)["why"]
    whole = train(*texts, "cache.features=always").run
    assert used(whole)["why"] == "its first weights learn"
    mixed = train(*texts, "method=[probe,mixer]", "cache.features=always").run
    assert not used(mixed)["used"] and "when it starts from activations" in used(mixed)["why"]
    cheap = train("backbone=mlp", "backbone.width=8", "method=[probe]").run
    assert not used(cheap)["used"] and "reading does not pay: a row is" in used(cheap)["why"]


@pytest.mark.parametrize("family", ["t5", "albert", "deberta-v2", "gpt2", "distilbert"])
def test_every_family_is_cut_equally_or_not_at_all(train, texts, same, family, folder, tiny_bert_folder):
    import transformers

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    options = {
        "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0},
        "albert": {**small, "embedding_size": 16},
        "deberta-v2": {**small, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    }[family]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert_folder)
    config = transformers.AutoConfig.for_model(family, vocab_size=len(tokenizer), pad_token_id=0, **options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder / family)
    tokenizer.save_pretrained(folder / family)
    others = tuple(override for override in texts if "weights" not in override and "epochs" not in override)
    blocks = 0 if family == "albert" else 1  # its one block is used for every layer
    method = ("method=[partial]", f"method.partial.blocks={blocks}", "optimizer.lr=1e-3", "epochs=2")
    overrides = (*others, f"backbone.weights=path:{family}", *method)
    plain = train(*overrides, "cache.features=never", "store=plain").run
    cached = train(*overrides, "cache.features=always", "store=cached").run
    same(cached, plain)
    if family == "t5":
        assert not used(cached)["used"] and used(cached)["why"] == "its blocks return more than their activations"
    else:
        assert used(cached)["used"] and used(cached)["blocks"] == 1
    if family == "deberta-v2":  # every block reads them
        moving = train(*overrides, "method.partial.include=rel_embeddings").run
        assert used(moving)["why"] == "its first weights learn"


MIXER = """
    from tlresearch import Method, register

    @register("method", "mixer")
    class Mixer(Method):
        '''Changes the inputs of a batch, as mixup does.'''

        def batch(self, model, batch, clock):
            return batch._replace(x={**batch.x, "input_ids": batch.x["input_ids"].flip(0)})
"""


def test_rows_kept_by_replay_have_no_stale_activations(train, same):
    staged = ("dataset=split", "dataset.scenario=class_incremental", "dataset.stages=2", "backbone.width=64")
    overrides = (*staged, "method=[probe,replay]", "epochs=2")
    plain = train(*overrides, "cache.features=never", "store=plain").run
    cached = train(*overrides, "cache.features=always", "store=cached").run
    assert used(cached)["used"]
    same(cached, plain)


def test_half_precision_is_close(train, texts):
    plain = train(*texts, "method=[probe]", "store=plain", "cache.features=never").run
    half = train(*texts, "method=[probe]", "store=half", "cache.dtype=float16").run
    assert used(half)["used"]
    assert half.metrics["test"]["loss"] == pytest.approx(plain.metrics["test"]["loss"], abs=1e-2)
    kept = [load_file(file)["values"].dtype for file in _below("half/features")]
    assert kept and set(kept) == {torch.float16}


@pytest.mark.slow
def test_two_processes_read_what_the_first_computes(train, texts, history):
    one = train(*texts, "method=[probe]", "store=one").run
    two = train(*texts, "method=[probe]", "store=two", "devices=2").run
    assert used(two)["used"], used(two)
    assert two.metrics["test"] == pytest.approx(one.metrics["test"], abs=1e-5)
    for first, second in zip(history(one.folder), history(two.folder), strict=True):
        assert first == pytest.approx(second, abs=1e-5)


def test_values_that_are_not_allowed(refused):
    assert "cache.features: 'often': unknown" in refused("cache.features=often")
    assert "cache.dtype: 'int8': unknown" in refused("cache.dtype=int8")
    assert "cache.max_gb: 0.0: must be above 0" in refused("cache.max_gb=0")


def test_weights_of_another_run_count_by_content(train, texts, same):
    """Two sources over one weights file: kept activations of neither serve the other, nor the file's own."""
    sources = [train(*texts, f"seed={seed}").run for seed in (1, 2)]
    probe = (*texts, "method=[probe]", "init_heads=[]", "backbone.max_length=32")
    train(*probe, "cache.features=always")  # of the file's own weights
    for source in sources:
        start = f"init_from={source.folder}"
        kept = train(*probe, start, "cache.features=always", "store=kept").run
        again = train(*probe, start, "cache.features=always", "store=again").run
        plain = train(*probe, start, "cache.features=never", "store=plain").run
        assert used(kept)["used"] and used(again)["used"] and not used(plain)["used"]
        same(kept, plain)
        same(again, plain)
