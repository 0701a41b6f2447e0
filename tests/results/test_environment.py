"""What is recorded and said of the device."""

from types import SimpleNamespace

import pytest
import torch

from tlresearch.results.environment import device, device_line


def test_the_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    threads = torch.get_num_threads()
    for kind, count, name in (("cpu", 1, None), ("cuda:1", 2, "GPU of cuda:1"), ("mps", 1, None)):
        found = device(SimpleNamespace(device=torch.device(kind), world_size=count))
        assert found == {"type": kind.partition(":")[0], "name": name, "count": count, "threads": threads}


@pytest.mark.parametrize(
    ("found", "accelerator", "said"),
    [
        ({"type": "cpu"}, "auto",
         "cpu, 2 threads, precision 32-true; no GPU found (accelerator=cuda or mps insists on one)"),
        ({"type": "cpu"}, "cpu", "cpu, 2 threads, precision 32-true; as accelerator=cpu says"),
        ({"type": "cuda", "name": "NVIDIA H200"}, "auto",
         "cuda: NVIDIA H200, precision 32-true; found by itself (accelerator=cpu does without)"),
        ({"type": "cuda", "name": "NVIDIA H200", "count": 4}, "cuda",
         "cuda: NVIDIA H200 x 4, precision 32-true; as accelerator=cuda says"),
        ({"type": "mps"}, "auto", "mps, precision 32-true; found by itself (accelerator=cpu does without)"),
    ],
)  # fmt: skip
def test_what_is_said_of_the_device(found, accelerator, said):
    assert device_line({"name": None, "count": 1, "threads": 2, **found}, accelerator, "32-true") == said
