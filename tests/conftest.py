"""Fixtures that many tests share."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

gc.set_threshold(200_000, 10, 10)  # to look for garbage as often as Python does by itself takes a tenth of the suite


END_TO_END = ("runs", "export")
"""Folders whose tests give whole commands: one after the other walks the same lines of the package."""

_counted: set[str] = set()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lines are counted in the first case of each test alone, end to end in the first test of a file.

    Fixtures are part of a test. To count slows all Python of a process down by half.

    pytest-cov's own mark for it ends one of the two tracers that a worker of xdist has, and the other goes on.
    """
    once, tracer = item.nodeid.partition("::" if item.path.parent.name in END_TO_END else "[")[0], sys.gettrace()
    if once in _counted and "coverage" in type(tracer).__module__:
        sys.settrace(None)
    _counted.add(once)
    yield
    sys.settrace(tracer)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """A worker that counts lines imports the large libraries before; with the tracer it takes half as long again."""
    tracer = sys.gettrace()
    if hasattr(session.config, "workerinput") and "coverage" in type(tracer).__module__:
        sys.settrace(None)
        for name in ("timm", "peft", "lightning_fabric", "scipy.stats", "sklearn.datasets", "sklearn.linear_model"):
            importlib.import_module(name)
        sys.settrace(tracer)


def pytest_collection_finish() -> None:
    """Fabric looks through all installed packages for callbacks each time it is made, which a suite does often."""
    module = sys.modules.get("lightning_fabric.fabric")
    if module is not None:
        module._load_external_callbacks = functools.cache(module._load_external_callbacks)


WORDS = ["good", "bad", "film", "plot", "the", "a", "is", "was", "very", "not", "dull", "fine", "##ly", "##s", ".", ","]


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts what it puts into the background deaf to interrupts; tests send them all the same."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def known_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder as a first command leaves it: the index of all that is registered, read from the files once."""
    from tlresearch.config import registry

    cache, empty = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.delenv("TLRESEARCH_PLUGINS", raising=False)
        patch.chdir(empty)
        registry.index()
    assert any(cache.iterdir())
    return cache


@pytest.fixture
def own_cache(known_plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder of one test: nothing in it but the index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(known_plugins, tmp_path / "cache")


@pytest.fixture(scope="session")
def tiny_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder: BERT with 2 layers of width 32, random weights as safetensors, a WordPiece vocabulary."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_bert")
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    names = dict.fromkeys([*special.values(), *WORDS, *letters, *(f"##{letter}" for letter in letters)])
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **special)
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def small_model():
    """A Model on 4-dimensional vectors: an mlp of `layers` blocks of `width` units and a linear head over 3 classes."""
    import torch

    from tlresearch.config.build import build
    from tlresearch.core.model import Model
    from tlresearch.core.types import Spec, Task

    def make(seed: int = 0, width: int = 5, layers: int = 2):
        task = Task("label", "classification", ("a", "b", "c"))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            spec = Spec("vector", (4,), (task,))
            backbone = build("backbone", {"name": "mlp", "width": width, "layers": layers}, spec=spec)
            model = Model(backbone)
            model.add_head(task, build("head", {"name": "linear"}, backbone=backbone, task=task))
        return model

    return make


@pytest.fixture
def small_batch():
    """A Batch of `rows` random 4-dimensional vectors with labels among 3 classes."""
    import torch

    from tlresearch.core.types import TRAIN, Batch

    def make(rows: int = 6, seed: int = 0, origin: int = TRAIN):
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(rows, 4, generator=generator), torch.randint(3, (rows,), generator=generator)
        numbers = torch.arange(rows)
        return Batch(x, {"label": y}, torch.zeros_like(numbers), numbers, torch.full((rows,), origin), torch.ones(rows))

    return make


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """plugin("file.py", text): the file is among the plugins from then on, here and in processes started from here."""

    def write(name: str, text: str) -> Path:
        file = tmp_path / "extra" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        known = os.environ.get("TLRESEARCH_PLUGINS", "")
        monkeypatch.setenv("TLRESEARCH_PLUGINS", os.pathsep.join(filter(None, [known, str(file)])))
        return file

    return write
