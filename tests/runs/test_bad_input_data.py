"""A user's mistakes in the data: named by path, column or label, before anything is written."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def images(folder: Path) -> Path:
    """Two classes of six grey images each."""
    for i, label in enumerate(("cat", "dog")):
        (folder / "images" / label).mkdir(parents=True)
        for j in range(6):
            Image.new("L", (8, 8), 100 * i + 10 * j).save(folder / "images" / label / f"{j}.png")
    return folder / "images"


@pytest.fixture
def table(folder: Path) -> Path:
    rows = [f"film {i} is fine,{'good' if i % 2 else 'bad'}" for i in range(20)]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]))
    return folder / "train.csv"


TEXT = ("dataset=text_file", "backbone=transformers", "dataset.path=train.csv")
FOLDER = ("dataset=image_folder", "dataset.path=images")


def test_missing_path(refused, folder):
    for dataset in ("image_folder", "text_file"):
        message = refused(f"dataset={dataset}", "dataset.path=nowhere")
        assert message == f"dataset.path: 'nowhere': no such file or folder (looked at {folder}/nowhere)"


def test_path_not_given(refused):
    assert refused("dataset=image_folder").startswith("dataset.path: required")


def test_path_below_data_dir_is_named_too(refused, folder):
    message = refused("dataset=image_folder", "dataset.path=nowhere", "data_dir=data")
    assert f"{folder}/nowhere, {folder}/data/nowhere" in message


def test_folder_without_classes(refused, folder):
    (folder / "images").mkdir()
    assert "'images': a folder without classes; expected PATH/CLASS/IMAGE" in refused(*FOLDER)


def test_folder_with_one_class(refused, images, folder):
    (images / "dog").rename(folder / "elsewhere")
    assert "one class only, 'cat'" in refused(*FOLDER)


def test_class_without_images(refused, images):
    (images / "empty").mkdir()
    assert "no image in empty" in refused(*FOLDER)


def test_corrupt_image_is_named_by_path(refused, images):
    good = (images / "cat" / "3.png").read_bytes()
    (images / "cat" / "3.png").write_bytes(good[: len(good) // 2])
    message = refused(*FOLDER)
    assert message.startswith("dataset.path: 'images': 1 images cannot be read: images/cat/3.png (")


def test_missing_column(refused, table):
    message = refused(*TEXT, "dataset.text_column=txt")
    expected = "dataset.text_column: 'txt': no such column in train.csv; did you mean 'text'? Allowed: label, text"
    assert message == expected
    assert "'rating'" in refused(*TEXT, "dataset.label_column=rating")
    assert "'site'" in refused(*TEXT, "dataset.domain_column=site")


def test_label_in_test_that_train_lacks(refused, table, folder):
    (folder / "test.csv").write_text("text,label\na,good\nb,bad\nc,ugly\n")
    message = refused(*TEXT, "dataset.test_path=test.csv")
    assert "test rows have label 'ugly' of task 'label', which training rows lack" in message


def test_label_in_a_test_folder_that_train_lacks(refused, images, folder):
    images.rename(folder / "train")
    (folder / "images").mkdir()
    (folder / "train").rename(folder / "images" / "train")
    for label in ("cat", "wolf"):
        (folder / "images" / "test" / label).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "images" / "test" / label / "0.png")
    assert "label 'wolf' of task 'label', which training rows lack" in refused(*FOLDER)


def test_empty_split(refused, table, folder):
    (folder / "test.csv").write_text("text,label\n")
    assert refused(*TEXT, "dataset.test_path=test.csv") == "dataset.test_path: 'test.csv': holds no rows"
    (folder / "train.csv").write_text("text,label\na,good\nb,bad\n")
    assert "leaves a set without a row" in refused(*TEXT)


@pytest.mark.parametrize("share", ["0", "1", "-0.1"])
def test_split_shares(refused, share):
    for key in ("validation", "test"):
        message = refused(f"dataset.{key}={share}")
        assert message.startswith(f"dataset.{key}: {float(share)}: must be a share of the rows, above 0 and below 1")


def test_more_labels_per_class_than_there_are(refused):
    message = refused("dataset.labels_per_class=1000")
    assert message.startswith("dataset.labels_per_class: 1000: ")
    most = int(message.rpartition("at most ")[2])
    assert refused(f"dataset.labels_per_class={most + 1}").startswith(f"dataset.labels_per_class: {most + 1}: ")
    assert refused("dataset.labels_per_class=-1").startswith("dataset.labels_per_class: -1: must be an integer")
    assert refused("dataset.labels_per_class=0").startswith("dataset.labels_per_class: 0: the data have no desc")


def test_as_many_labels_per_class_as_the_message_says(refused, train):
    most = refused("dataset.labels_per_class=1000").rpartition("at most ")[2]
    assert train(f"dataset.labels_per_class={most}", "steps=1").code == 0


def test_vision_backbone_on_text(refused, table):
    message = refused("dataset=text_file", "dataset.path=train.csv", "backbone=convnet")
    assert message == "backbone: 'convnet' reads image and dataset=text_file gives text; choose one of: transformers"


def test_head_that_does_not_serve_the_task(refused, plugin):
    plugin(
        "tagger.py",
        """
        from tlresearch import Head, register

        @register("head", "tagger")
        class Tagger(Head):
            kinds = frozenset({"tagging"})

            def __init__(self, backbone, task) -> None: ...
        """,
    )
    message = refused("head=tagger")
    start = "head: 'tagger' serves tagging; task 'digit' is classification; choose one of: "
    assert message.startswith(start) and message.endswith(
        "bn_linear, cosine, knn, lda, linear, logistic, mlp, prototype, ridge"
    )


def test_stages_and_scenario(refused):
    cut = ("dataset=split", "dataset.scenario=class_incremental")
    assert refused("dataset=split").startswith("dataset.scenario: required")
    assert "did you mean 'class_incremental'?" in refused("dataset=split", "dataset.scenario=class_incr")
    assert refused(*cut, "dataset.stages=11").startswith("dataset.stages: 11: ")
    message = refused(*cut, "dataset.base=digts")
    assert message.startswith("dataset.base: unknown dataset 'digts'; did you mean 'digits'?")
    assert refused(*cut, "dataset.base_arguments={pth: x}").startswith("dataset.base_arguments.pth: unknown key")
