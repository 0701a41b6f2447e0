"""The fingerprint changes with every single value, and with nothing else."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tlresearch.core.fingerprint import fingerprint
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stage, Stream, Task

TASK = Task("label", "classification", ("a", "b"))


def of(inputs, unlabelled=None, task=TASK, labels=(0, 1, 1), **columns) -> str:
    rows = Rows(inputs, {"label": torch.tensor(labels)}, **columns)
    parts = [rows.take(torch.tensor([i])) for i in range(3)]
    return fingerprint(Stream(Spec("text", None, (task,)), (Stage("toy", (task,), *parts, unlabelled),)))


def pixels() -> torch.Tensor:
    return torch.arange(3 * 4, dtype=torch.uint8).reshape(3, 1, 2, 2)


@pytest.mark.parametrize("i", range(3))
def test_every_pixel_text_and_label_counts(i: int) -> None:
    changed, texts = pixels(), ["x", "y", "z"]
    changed[i, 0, 1, 1] += 1
    assert of(pixels()) == of(pixels()) != of(changed)
    other = [*texts[:i], "w", *texts[i + 1 :]]
    assert of(texts) == of(list(texts)) != of(other)
    labels = [0, 1, 1]
    labels[i] = 1 - labels[i]
    assert of(texts) != of(texts, labels=labels)


def test_every_other_column_and_the_spec_count() -> None:
    texts = ["x", "y", "z"]
    prints = [
        of(texts),
        of(texts, domain=torch.tensor([0, 0, 1])),
        of(texts, index=torch.tensor([0, 1, 3])),
        of(texts, weight=torch.tensor([1.0, 1.0, 1.5])),
        of(texts, task=TASK._replace(labels=("a", "c"))),
        of(texts, unlabelled=Rows(["u"], {})),
        of(texts, unlabelled=Rows(["v"], {})),
    ]
    assert len(set(prints)) == len(prints)


def test_texts_do_not_run_into_each_other() -> None:
    assert of(["ab", "c", ""]) != of(["a", "bc", ""])


def test_type_and_shape_count() -> None:
    assert of(torch.zeros(3, 4)) != of(torch.zeros(3, 2, 2))
    assert of(torch.zeros(3, dtype=torch.int32)) != of(torch.zeros(3))
    assert of(torch.zeros(3)) == of(np.zeros(3, dtype=np.float32))


def test_rows_that_no_stage_uses_do_not_count() -> None:
    first, second = pixels(), pixels()
    second[2] = 99

    def of_two(inputs: torch.Tensor) -> str:
        rows = Rows(inputs, {"label": torch.tensor([0, 1, 1])}).take(torch.tensor([0, 1]))
        return fingerprint(Stream(Spec("image", (1, 2, 2), (TASK,)), (Stage("toy", (TASK,), rows, rows, rows),)))

    assert of_two(first) == of_two(second)


def test_files_count_by_content(tmp_path: Path) -> None:
    def files(folder: str, contents: list[bytes]) -> list[Path]:
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = [tmp_path / folder / f"{i}.png" for i in range(3)]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return paths

    before = of(files("here", [b"one", b"two", b"three"]))
    assert before == of(files("moved", [b"one", b"two", b"three"]))
    paths = files("here", [b"one", b"twq", b"three"])  # the same size, rewritten later
    later = time.time_ns() + 1_000_000_000
    os.utime(paths[1], ns=(later, later))
    assert before != of(paths)


def test_columns_of_hugging_face_read_as_plain_lists() -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "other": [1, 2, 3]})
    assert of(table["text"]) == of(["x", "y", "z"]) != of(table["other"])


def test_inputs_of_an_unknown_type_are_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        of([object(), object(), object()])


def test_digits_take_less_than_20_ms() -> None:
    from tlresearch.datasets.digits import Digits

    stream = Digits(Sampling()).stream()
    seconds = []
    for _ in range(7):  # the least busy moment counts
        start = time.perf_counter()
        fingerprint(stream)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02
