"""Texts that a WordPiece tokenizer makes exactly 32 tokens of, for timing only."""

import torch

from tlresearch import Dataset, Rows, Sampling, Spec, Stream, Task, register

WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
]


@register("dataset", "bench_tokens")
class BenchTokens(Dataset):
    """30 common words a text ([CLS] and [SEP] make it 32 tokens), two arbitrary classes."""

    def __init__(self, sampling: Sampling, *, rows: int = 512) -> None:
        self.sampling, self.rows = sampling, rows

    def stream(self) -> Stream:
        generator = torch.Generator().manual_seed(0)
        draws = torch.randint(len(WORDS), (self.rows, 30), generator=generator)
        texts = [" ".join(WORDS[i] for i in row) for row in draws.tolist()]
        task = Task("label", "classification", ("even", "odd"))
        rows = Rows(texts, {"label": torch.arange(self.rows) % 2})
        stage = self.sampling.stage("all", (task,), train=rows, validation=None, test=None)
        return Stream(Spec("text", None, (task,)), (stage,))
