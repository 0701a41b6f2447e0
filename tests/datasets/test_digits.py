"""Digits against scikit-learn's own arrays."""

import torch
from sklearn.datasets import load_digits

from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Stream
from tlresearch.datasets.digits import Digits


def stream(**options) -> Stream:
    return Digits(Sampling(**options)).stream()


def test_every_digit_appears_once_with_its_label_and_pixels() -> None:
    source = load_digits()
    (stage,) = stream().stages
    rows = [row for part in (stage.train, stage.validation, stage.test) for row in part]
    assert sorted(row["index"] for row in rows) == list(range(1797))
    for row in rows:
        assert row["input"].dtype == torch.uint8 and row["input"].shape == (1, 8, 8)
        assert int(row["labels"]["digit"]) == source.target[row["index"]]
        back = (row["input"][0].double() * 16 / 255).round()
        assert torch.equal(back, torch.from_numpy(source.images[row["index"]]))


def test_grey_levels_fill_the_byte() -> None:
    inputs = stream().stages[0].train.inputs
    assert int(inputs.min()) == 0 and int(inputs.max()) == 255 and len(inputs.unique()) == 17


def test_spec_and_few_labels() -> None:
    spec, (stage,) = stream(labels_per_class=20)
    assert (spec.modality, spec.input_shape, spec.tasks[0].labels) == ("image", (1, 8, 8), tuple("0123456789"))
    assert stage.train.labels["digit"].bincount().tolist() == [20] * 10
    assert 0.19 < len(stage.test) / 1797 < 0.21 and 0.19 < len(stage.validation) / 1797 < 0.21
