"""Files and folders that some plugins read: a tiny BERT, pictures, digits, photos, a table, a saved data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ["good", "bad", "film", "plot", "the", "a", "is", "was", "very", "not", "dull", "fine", ".", ","]


class Places(dict[str, Path]):
    """name → file or folder below `folder`, made when it is asked for first: bert, mnist, photos, pictures …"""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        place = self[name] = self.folder / name
        MAKE[name](place)
        return place


TEXTS = [f"{WORDS[i % 2]} {WORDS[2 + i % 3]} {WORDS[4 + i % 5]}" for i in range(30)]


def _bert(folder: Path) -> None:
    """A transformers folder: two layers of width 32, random weights, whole words as tokens, no dropout."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    vocabulary = {word: i for i, word in enumerate([*special.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **special).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def _vit(folder: Path) -> None:
    """A transformers folder that reads images of 16 pixels a side: two layers of width 32, random weights."""
    import torch
    from transformers import CLIPImageProcessor, ViTConfig, ViTModel

    config = ViTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    sizes = {"height": 16, "width": 16}
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=sizes).save_pretrained(folder)


def _timm_vit(file: Path) -> None:
    """The tiny network of `registered.VIT` with random weights and a classifier of seven categories.

    timm draws weights for a width of hundreds, with a deviation of 0.02: at a width of 32 a step on shifts (biases,
    adapters' or SSF's) would drown what the class token knows of the image. So ten times that, as the BERT here has.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    from .registered import VIT

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = timm.create_model("vit_tiny_patch16_224", num_classes=7, **VIT).state_dict()
        torch.nn.init.normal_(state["cls_token"], std=0.02)
    small = [name for name, tensor in state.items() if tensor.dim() > 1 and not name.startswith("patch_embed")]
    save_file({name: tensor * 10 if name in small else tensor for name, tensor in state.items()}, file)


def _pictures(folder: Path) -> None:
    from PIL import Image

    for label, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        (folder / label).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (12 + i, 14), tuple(value + 5 * i for value in colour)).save(folder / label / f"{i}.png")


def _table(file: Path) -> None:
    lines = ["text,label", *(f"{text},{WORDS[i % 2]}" for i, text in enumerate(TEXTS))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _saved(folder: Path) -> None:
    import datasets

    labels = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=WORDS[:2])})
    columns = {"text": TEXTS, "label": [i % 2 for i in range(len(TEXTS))]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=labels).save_to_disk(folder)
    datasets.enable_progress_bars()


def digits(count: int, side: int, seed: int) -> tuple[Any, Any]:
    """Images (N, side, side) and labels (N,), uint8: a bright row where the digit says, noise elsewhere."""
    import numpy

    labels = (numpy.arange(count) % 10).astype(numpy.uint8)
    images = numpy.random.default_rng(seed).integers(0, 60, (count, side, side), dtype=numpy.uint8)
    images[numpy.arange(count), 2 + labels] = 250
    return images, labels


def _mnist(folder: Path) -> None:
    """The four files of MNIST, 50 training and 20 test images in them."""
    import gzip

    folder.mkdir(parents=True)
    for prefix, count in (("train", 50), ("t10k", 20)):
        images, labels = digits(count, 28, count)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


def _usps(file: Path) -> None:
    import numpy

    parts = {"train": digits(50, 16, 1), "test": digits(20, 16, 2)}
    numpy.savez(file, **{f"{axis}_{split}": part[i] for split, part in parts.items() for i, axis in enumerate("xy")})


def _photos(folder: Path) -> None:
    import numpy
    from PIL import Image

    folder.mkdir(parents=True)
    for i, size in enumerate([(40, 50, 3), (30, 28, 3)]):
        pixels = numpy.random.default_rng(i).integers(0, 256, size, dtype=numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


MAKE: dict[str, Callable[[Path], None]] = {
    "bert": _bert,
    "mnist": _mnist,
    "photos": _photos,
    "pictures": _pictures,
    "saved": _saved,
    "table.csv": _table,
    "usps.npz": _usps,
    "vit": _vit,
    "vit.safetensors": _timm_vit,
}
