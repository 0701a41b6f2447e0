"""Data sets saved to disk by Hugging Face's own writer; the hub is never asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.core.fingerprint import fingerprint
from tlresearch.core.sampling import Sampling
from tlresearch.datasets.huggingface import HuggingFace

datasets = pytest.importorskip("datasets")
TEXTS = [f"text {i}" for i in range(20)]


def table(labels, feature=None, texts=TEXTS):
    features = datasets.Features({"text": datasets.Value("string"), "label": feature}) if feature else None
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)


def stream(path: Path, **options):
    return HuggingFace(Sampling(), None, path=str(path), **options).stream()


def back(stage) -> list[tuple[str, int]]:
    rows = sorted((row for part in stage[2:5] for row in part), key=lambda row: row["index"])
    return [(row["input"], int(row["labels"]["label"])) for row in rows]


def failing(path: Path, **options) -> tuple[str, str]:
    with pytest.raises(ConfigError) as error:
        stream(path, **options)
    return error.value.problems[0]


def test_a_saved_table_is_split_and_keeps_class_names(tmp_path: Path) -> None:
    labels = [i % 2 for i in range(20)]
    table(labels, datasets.ClassLabel(names=["zebra", "ant"])).save_to_disk(tmp_path / "d")
    spec, (stage,) = stream(tmp_path / "d")
    assert spec.tasks[0].labels == ("zebra", "ant") and spec.modality == "text"
    assert back(stage) == list(zip(TEXTS, labels, strict=True))
    assert [len(rows) for rows in stage[2:5]] == [12, 4, 4]
    assert fingerprint(stream(tmp_path / "d")) == fingerprint(stream(tmp_path / "d"))


def test_plain_labels_are_sorted(tmp_path: Path) -> None:
    table([(10, 9)[i % 2] for i in range(20)]).save_to_disk(tmp_path / "numbers")
    table([("b", "a")[i % 2] for i in range(20)]).save_to_disk(tmp_path / "names")
    assert stream(tmp_path / "numbers").spec.tasks[0].labels == ("9", "10")
    spec, (stage,) = stream(tmp_path / "names")
    assert spec.tasks[0].labels == ("a", "b") and [label for _, label in back(stage)] == [1, 0] * 10


@pytest.fixture
def three(tmp_path: Path) -> Path:
    sizes = {"train": 20, "dev": 6, "test": 4}
    texts = {name: [f"{name} {i}" for i in range(n)] for name, n in sizes.items()}
    made = {name: table([i % 2 for i in range(n)], None, texts[name]) for name, n in sizes.items()}
    datasets.DatasetDict(made).save_to_disk(tmp_path / "three")
    return tmp_path / "three"


def test_splits_are_found_named_or_left(three: Path) -> None:
    def sizes(**options) -> list[int]:
        return [len(rows) for rows in stream(three, **options).stages[0][2:5]]

    assert sizes() == [20, 6, 4]
    assert sizes(validation_split=None) == [16, 4, 4]
    assert sizes(validation_split="test", test_split="dev") == [20, 4, 6]
    (stage,) = stream(three).stages
    assert all(row["input"].startswith("test") for row in stage.test)
    assert len({row["index"] for rows in stage[2:5] for row in rows}) == 30


def test_images_become_bytes(tmp_path: Path) -> None:
    arrays = [np.random.default_rng(i).integers(0, 255, (6, 5, 3), dtype=np.uint8) for i in range(10)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    columns = {"image": [Image.fromarray(array) for array in arrays], "label": [i % 2 for i in range(10)]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "d")
    spec, (stage,) = stream(tmp_path / "d", input_column="image")
    assert spec.modality == "image"
    for row in stage.train:
        assert np.array_equal(row["input"].permute(1, 2, 0).numpy(), arrays[row["index"]])


def test_a_relative_path_is_looked_up_in_the_data_folder(three: Path) -> None:
    spec, _ = HuggingFace(Sampling(), three.parent, path="three").stream()
    assert spec.tasks[0].labels == ("0", "1")


def test_what_is_missing_is_named(three: Path, tmp_path: Path) -> None:
    assert "did you mean 'text'" in failing(three, input_column="txt").message
    assert failing(three, label_column="labels")[0] == "label_column"
    assert failing(three, input_column="label")[0] == "input_column"
    key, message = failing(three, test_split="tests")
    assert key == "test_split" and "did you mean 'test'" in message
    assert failing(three, train_split="training")[0] == "train_split"
    table([i / 2 for i in range(20)]).save_to_disk(tmp_path / "float")
    assert failing(tmp_path / "float")[0] == "label_column"
    table([1] * 20).save_to_disk(tmp_path / "one")
    assert failing(tmp_path / "one")[0] == "label_column"


def test_hidden_test_labels_are_refused(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["a", "b"])
    parts = {"train": table([i % 2 for i in range(20)], names), "test": table([-1] * 20, names)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    key, message = failing(tmp_path / "d")
    assert key == "test_split" and "20 rows" in message
    assert len(stream(tmp_path / "d", test_split=None).stages[0].test) == 4


def test_a_name_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    key, message = failing(Path("someone/something"))
    assert key == "path" and "no route" in message and "save_to_disk" in message
