"""Customer-support messages, written for this package: text for demonstrations without any download."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Literal, NamedTuple

import torch

from tlresearch.config.errors import choose
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, descriptions
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task

SPLITS = ("train", "validation", "test")
CHANNELS = ("email", "chat")
ENTITY = re.compile(r"\[([^\]]+)\]\((\w+)\)")
"""An entity in a message's text: [surface](label), label one of order_number, product, date, amount, person."""


class Message(NamedTuple):
    """One message. spans: (start, end, label) of its entities, as positions in `text`."""

    text: str
    intent: str
    sentiment: str
    channel: str
    spans: tuple[tuple[int, int, str], ...]


@register("dataset", "support")
class Support(Dataset):
    """1,056 messages to an online shop: 12 intents, 3 sentiments, two channels as domains, entities marked.

    Fixed splits of 672, 96 and 288 rows, 56, 8 and 24 an intent. The messages are authored, not collected: good for
    demonstrations and tests, not for claims about customers (data/support/README.md is the card).

    Args:
        task: the label to predict, intent or sentiment.
    """

    def __init__(self, sampling: Sampling, *, task: Literal["intent", "sentiment"] = "intent") -> None:
        self.sampling, self.task = sampling, choose("task", task, ("intent", "sentiment"))

    def stream(self) -> Stream:
        """One stage with the fixed splits; a row's domain is its channel."""
        messages = {split: read(split) for split in SPLITS}
        names = tuple(sorted({getattr(message, self.task) for message in messages["train"]}))
        task = Task(self.task, "classification", names)
        start, parts = 0, []
        for part in messages.values():
            labels = torch.tensor([names.index(getattr(message, self.task)) for message in part])
            domain = torch.tensor([CHANNELS.index(message.channel) for message in part])
            index = torch.arange(start, start + len(part))
            parts.append(Rows([message.text for message in part], {task.name: labels}, domain, index))
            start += len(part)
        meanings = descriptions(task, start, [_described()[self.task][name] for name in names])
        train, validation, test = parts
        stage = self.sampling.stage("support", (task,), train, validation, test, descriptions=meanings)
        return Stream(Spec("text", None, (task,), CHANNELS), (stage,))


def read(split: str) -> list[Message]:
    """The messages of train, validation or test, in their fixed order."""
    rows = [json.loads(line) for line in _file(f"{split}.jsonl").split("\n") if line]
    return [_message(**row) for row in rows]


def parse(marked: str) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """Text with marked entities → (plain text, spans).

    "is [A-1](order_number) here" → ("is A-1 here", ((3, 6, "order_number"),)).
    """
    text, spans, end = "", [], 0
    for found in ENTITY.finditer(marked):
        text += marked[end : found.start()]
        spans.append((len(text), len(text) + len(found[1]), found[2]))
        text, end = text + found[1], found.end()
    return text + marked[end:], tuple(spans)


def _described() -> dict[str, dict[str, str]]:
    """Task → label → one sentence that says what it means, for `labels_per_class=0`."""
    described: dict[str, dict[str, str]] = json.loads(_file("descriptions.json"))
    return described


def _file(name: str) -> str:
    return (files("tlresearch.datasets") / "data" / "support" / name).read_text(encoding="utf-8")


def _message(text: str, intent: str, sentiment: str, channel: str) -> Message:
    plain, spans = parse(text)
    return Message(plain, intent, sentiment, channel, spans)
