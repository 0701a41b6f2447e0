"""The endless order and rows prepared once."""

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Rows
from tlresearch.core.types import Spec
from tlresearch.training.data import Endless, Prepared, ahead


def test_every_epoch_is_a_permutation_and_epochs_differ():
    order = Endless(7, 3, "x")
    epochs = [order.positions(7 * k, 7) for k in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(7)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_any_way_of_cutting_gives_the_same_order():
    whole = Endless(5, 0).positions(0, 23)
    pieces, order = [], Endless(5, 0)
    for start, count in ((0, 4), (4, 9), (13, 1), (14, 9)):
        pieces.append(order.positions(start, count))
    assert torch.equal(whole, torch.cat(pieces))
    assert torch.equal(Endless(5, 0).positions(13, 6), whole[13:19])  # from the middle, as after a resume
    assert not torch.equal(Endless(5, 1).positions(0, 23), whole)


@pytest.fixture
def digits_rows():
    images = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Rows(images, {"label": torch.arange(9) % 3}, weight=torch.rand(9))


def test_kept_in_memory_or_made_on_the_fly_the_batches_are_the_same(digits_rows):
    backbone = build("backbone", {"name": "mlp"}, spec=Spec("image", (1, 8, 8), ()))
    chosen = torch.tensor([4, 0, 7])
    kept = Prepared(digits_rows, backbone, "train", 1e9, "rows")
    made = Prepared(digits_rows, backbone, "train", 0, "rows")
    assert kept.in_memory and not made.in_memory
    for one, other in zip(kept.batch(chosen), made.batch(chosen), strict=True):
        if isinstance(one, dict):
            assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        else:
            assert torch.equal(one, other)
    plan = torch.arange(9).split(4)
    for one, other in zip(kept.batches(plan), made.batches(plan), strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.index, other.index)


def test_texts_of_unequal_length_are_padded_batch_by_batch(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    backbone = build("backbone", options, spec=Spec("text", None, ()))
    rows = Rows(["a film", "the plot is very dull", "fine"], {"label": torch.tensor([0, 1, 1])})
    prepared = Prepared(rows, backbone, "train", 1e9, "rows")
    short, long = prepared.batch(torch.tensor([0, 2])), prepared.batch(torch.tensor([0, 1]))
    assert short.x["input_ids"].shape[1] < long.x["input_ids"].shape[1]
    assert short.x["attention_mask"].sum(1).tolist() == [4, 3]


def test_an_unreadable_row_is_named():
    class Broken:
        def preprocess(self, split):
            def read(row):
                raise OSError("truncated")

            return read

    with pytest.raises(ConfigError, match=r"row 0 \('a\.jpg'\) cannot be read: truncated"):
        Prepared(Rows(["a.jpg"], {}), Broken(), "train", 1e9, "rows")


def test_threads_ahead_keep_the_order():
    assert list(ahead(lambda t: int(t) ** 2, torch.arange(20), workers=3)) == [i**2 for i in range(20)]


def test_texts_that_are_cut_count_also_where_an_earlier_run_has_preprocessed_them(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}", "max_length": 4}
    backbone = build("backbone", options, spec=Spec("text", None, ()))
    rows = Rows(["a film", "the plot is very dull", "fine"], {"label": torch.tensor([0, 1, 1])})
    known = {}
    first = Prepared(rows, backbone, "train", 1e9, "rows", known)
    again = Prepared(rows, backbone, "train", 1e9, "rows", known)
    assert first.cut == again.cut == 1
    assert Prepared(rows.take(torch.tensor([0, 2])), backbone, "train", 1e9, "rows", known).cut == 0
    assert Prepared(rows, backbone, "train", 0, "rows").cut is None, "too many to be kept"
