"""Adaptation between two data sets through the real command: its record, and that the target's labels stay unseen."""

import gzip

import numpy as np
import pytest


@pytest.fixture
def digits(folder):
    """digits(targets) writes mnist/ (28 x 28) and usps.npz (16 x 16), the latter's training labels as given."""
    rng = np.random.default_rng(0)

    def drawn(count, side):
        labels = np.arange(count) % 10
        images = rng.integers(0, 80, (count, side, side), dtype=np.uint8)
        images[np.arange(count), 3 + labels] = 255
        return images, labels.astype(np.uint8)

    parts = {"train": drawn(100, 28), "t10k": drawn(40, 28)}
    (folder / "mnist").mkdir()
    for prefix, arrays in parts.items():
        for name, array in zip(("images-idx3", "labels-idx1"), arrays, strict=True):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / "mnist" / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    (x_train, y_train), (x_test, y_test) = drawn(100, 16), drawn(40, 16)

    def write(labels=None):
        own = y_train if labels is None else labels
        np.savez(folder / "usps.npz", x_train=x_train, y_train=own, x_test=x_test, y_test=y_test)
        return y_train

    return write


ARGUMENTS = (
    "dataset=domains",
    "dataset.target=[usps]",
    "dataset.base_arguments={mnist:{path:mnist},usps:{path:usps.npz}}",
)
LENET = ("backbone=lenet", "steps=6", "method=[dann]", "schedule=inverse_decay", "optimizer=sgd")


def test_each_domain_and_the_worst_have_a_number(digits, train) -> None:
    digits()
    metrics = train(*ARGUMENTS, *LENET, "dataset.tested=all").run.metrics
    of_domains = {name: numbers["accuracy"] for name, numbers in metrics["domain"].items()}
    assert {name: numbers["rows"] for name, numbers in metrics["domain"].items()} == {"mnist": 40, "usps": 40}
    assert metrics["worst_domain"]["accuracy"] == min(of_domains.values())
    assert metrics["test"]["accuracy"] == pytest.approx(sum(of_domains.values()) / 2)
    only = train(*ARGUMENTS, *LENET).run.metrics
    assert list(only["domain"]) == ["usps"] and only["test"]["accuracy"] == only["domain"]["usps"]["accuracy"]


def test_a_targets_training_labels_are_not_even_part_of_the_identity(digits, train) -> None:
    labels = digits()
    first = train(*ARGUMENTS, *LENET, "store=first").run
    digits(np.roll(labels, 3))
    again = train(*ARGUMENTS, *LENET, "store=again").run
    assert again.identity == first.identity and again.metrics["test"] == first.metrics["test"]
