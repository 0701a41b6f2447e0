"""Files and folders that some plugins read: a tiny BERT, pictures, a table, a saved data set."""

from __future__ import annotations

from pathlib import Path

WORDS = ["good", "bad", "film", "plot", "the", "a", "is", "was", "very", "not", "dull", "fine", ".", ","]


class Places(dict[str, Path]):
    """name → file or folder below `folder`, made when it is asked for first: bert, pictures, saved, table."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        place = self[name] = self.folder / name
        {"bert": _bert, "pictures": _pictures, "saved": _saved, "table.csv": _table}[name](place)
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
