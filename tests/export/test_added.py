"""Networks with modules of a method in them: other libraries' classes have none, a graph and our own folder do."""

import pytest
import torch

from tlresearch import Run
from tlresearch.nn.trial import TEXTS

VIT = ("backbone.model=test_vit", "backbone.arguments.depth=2")


def check_refused(command, run, name, form):
    code, _, err = command("export", str(run.folder), f"refused_{form}", "--format", form)
    assert code == 2
    assert f"method {name!r} has put 'network." in err and "safetensors" in err


@pytest.mark.parametrize("name", ["adapter", "scale_shift", "visual_prompt"])
def test_images(name, image_run, exported, command):
    run = image_run(*VIT, f"method=[{name}]", "head=linear")
    check_refused(command, run, name, "timm")
    alone = Run.load(exported(run, "safetensors"))
    x = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = run.model(x).logits["digit"]
        assert torch.equal(alone.model(x).logits["digit"], expected)


@pytest.mark.parametrize("name", ["prefix", "adapter"])
def test_texts(name, text_run, exported, command):
    run = text_run(f"method=[{name}]", "head=linear")
    for form in ("transformers", "sentence-transformers"):
        check_refused(command, run, name, form)
    alone = Run.load(exported(run, "safetensors"))
    found, expected = (r.predict(list(TEXTS)) for r in (alone, run))
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one.logits[task], logits) for task, logits in other.logits.items())


@pytest.mark.parametrize("name", ["adapter", "visual_prompt"])
def test_graphs_of_images(name, image_run, exported):
    onnxruntime = pytest.importorskip("onnxruntime", reason='needs pip install "tlresearch[export]"')
    run = image_run(*VIT, f"method=[{name}]", "head=linear")
    session = onnxruntime.InferenceSession(exported(run, "onnx") / "model.onnx")
    for rows in (1, 4):
        x = torch.randint(256, (rows, 3, 32, 32), dtype=torch.uint8)
        with torch.no_grad():
            expected = run.model(x).logits["digit"]
        (found,) = session.run(None, {"pixels": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_the_graph_of_a_text_network_with_a_prefix(text_run, exported):
    pytest.importorskip("onnxruntime", reason='needs pip install "tlresearch[export]"')
    run = text_run("method=[prefix]", "head=linear")
    assert (exported(run, "onnx") / "model.onnx").is_file(), "the command compares its answers with the run's"
