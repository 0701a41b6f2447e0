"""ONNX graphs, run by onnxruntime on other batches and lengths than those they were made with."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("onnx", reason='needs pip install "tlresearch[export]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs pip install "tlresearch[export]"')

IMAGES = [
    pytest.param("backbone=convnet", "head=linear", (1, 8, 8)),
    pytest.param("backbone=mlp", "head=prototype", (1, 8, 8)),
    pytest.param("backbone=mlp", "head=mlp", (1, 8, 8), marks=pytest.mark.slow),
    pytest.param("backbone.model=test_resnet", "head=linear", (3, 32, 32), marks=pytest.mark.slow),
    pytest.param("backbone.model=test_vit", "head=linear", (3, 32, 32), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("backbone", "head", "shape"), IMAGES)
def test_raw_pixels_of_any_batch_give_the_same_logits(backbone, head, shape, image_run, exported):
    method = "method=[probe]" if "prototype" in head else "method=[lora]"
    run = image_run(backbone, head, method)
    folder = exported(run, "onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert [entry.name for entry in session.get_inputs()] == ["pixels"]
    assert [entry.name for entry in session.get_outputs()] == ["logits"]
    generator = torch.Generator().manual_seed(1)
    for rows in (1, 2, 7):
        x = torch.randint(256, (rows, *shape), generator=generator, dtype=torch.uint8)
        with torch.no_grad():
            expected = run.model(x).logits["digit"]
        (found,) = session.run(None, {"pixels": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    labels = {"digit": list(run.spec.tasks[0].labels)}
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == labels
    assert json.loads((folder / "labels.json").read_text()) == labels


def test_the_card_says_how_an_image_becomes_pixels(image_run, exported):
    from timm.data import create_transform

    run = image_run("backbone.model=test_resnet", "head=linear", "method=[lora]")
    folder = exported(run, "onnx")
    told = re.search(r"create_transform\(\*\*(\{.*?\}), is_training=False", (folder / "README.md").read_text())
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8))
    transform = create_transform(**ast.literal_eval(told[1]), is_training=False, normalize=False)
    pixels = torch.as_tensor(np.asarray(transform(image)))[None].numpy()
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"pixels": pixels})
    (answer,) = run.predict([image])
    torch.testing.assert_close(torch.from_numpy(found[0]), answer.logits["digit"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_texts_of_any_batch_and_length_give_the_same_logits(pooling, text_run, exported, elsewhere, text_logits):
    run = text_run(f"head.pooling={pooling}", "method=[lora]")
    folder = exported(run, "onnx")
    answer = elsewhere(folder, "answer = {'logits': logits.tolist(), 'labels': labels}")
    expected = text_logits(run)
    torch.testing.assert_close(torch.tensor(answer["logits"]), expected, rtol=0, atol=1e-4)
    assert answer["labels"] == [run.spec.tasks[0].labels[i] for i in expected.argmax(-1)]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for rows, length in ((1, 3), (6, 9)):
        ids = torch.randint(5, 20, (rows, length))
        x = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
        x["attention_mask"][0, 2:] = 0
        x = {entry.name: x[entry.name] for entry in session.get_inputs()}
        with torch.no_grad():
            (expected,) = run.model(x).logits.values()
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in x.items()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


def test_an_operator_that_onnx_lacks_is_named(image_run, command, tmp_path, monkeypatch):
    import tlresearch.export.onnx as module

    monkeypatch.setattr(module, "_translations", dict)
    run = image_run("backbone=mlp", "head=prototype", "method=[probe]")
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "onnx")
    assert code == 2 and "no form in ONNX" in err and "cdist" in err and "try safetensors" in err
    assert not (tmp_path / "out").exists()


def test_every_task_of_vectors_has_its_own_output(train, exported, monkeypatch):
    monkeypatch.setenv("TLRESEARCH_PLUGINS", str(Path(__file__).parents[1] / "contract" / "fixtures" / "toys.py"))
    run = train("dataset=contract_vectors", "dataset.tasks=2", "backbone=mlp", "method=[lora]")
    session = onnxruntime.InferenceSession(exported(run, "onnx") / "model.onnx")
    x = torch.randn(5, 8)
    with torch.no_grad():
        expected = run.model(x).logits
    assert list(expected) == ["shape", "shade"]
    for task, found in zip(expected, session.run(["logits_shape", "logits_shade"], {"values": x.numpy()}), strict=True):
        torch.testing.assert_close(torch.from_numpy(found), expected[task], rtol=1e-4, atol=1e-4)
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    assert labels == {"shape": ["circle", "square", "star"], "shade": ["dark", "light"]}
