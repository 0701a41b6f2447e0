"""The messages: counts, splits without near-duplicates, spans that are what they say."""

import re
from collections import Counter
from itertools import combinations

import pytest

from tlresearch.config.build import build
from tlresearch.datasets.support import CHANNELS, SPLITS, parse, read

LABELS = {"order_number", "product", "date", "amount", "person"}
EVERYTHING = {split: read(split) for split in SPLITS}
MESSAGES = [message for part in EVERYTHING.values() for message in part]


def trigrams(text):
    words = re.findall(r"\w+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False)) or {tuple(words)}


def test_at_least_a_thousand_distinct_messages_of_moderate_length():
    texts = {" ".join(message.text.lower().split()) for message in MESSAGES}
    assert len(texts) == len(MESSAGES) >= 1000
    lengths = [len(message.text.split()) for message in MESSAGES]
    assert sum(lengths) / len(lengths) <= 20 and min(lengths) <= 3 and max(lengths) >= 35


def test_no_two_messages_share_most_of_their_word_trigrams():
    grams = [trigrams(message.text) for message in MESSAGES]
    worst = max(len(a & b) / len(a | b) for a, b in combinations(grams, 2) if a & b)
    assert worst <= 0.8


def test_every_intent_has_the_same_share_of_every_split():
    assert {split: set(Counter(m.intent for m in part).values()) for split, part in EVERYTHING.items()} == {
        "train": {56}, "validation": {8}, "test": {24},
    }  # fmt: skip
    assert len({m.intent for m in MESSAGES}) == 12
    for split, part in EVERYTHING.items():
        assert {m.sentiment for m in part} == {"negative", "neutral", "positive"}, split
        assert {m.channel for m in part} == set(CHANNELS), split


def test_spans_lie_on_the_words_they_mark():
    found = Counter(label for message in MESSAGES for _, _, label in message.spans)
    assert set(found) == LABELS and min(found.values()) >= 100
    for message in MESSAGES:
        assert not re.search(r"[\[\]]", message.text)
        ends = [0, *(end for _, end, _ in message.spans)]
        for (start, end, _), before in zip(message.spans, ends, strict=False):
            assert before <= start < end <= len(message.text) and message.text[start:end].strip()


def test_marks_by_hand():
    text, spans = parse("is [A-1](order_number) here, [Ann Lee](person)?")
    assert text == "is A-1 here, Ann Lee?"
    assert [(text[a:b], label) for a, b, label in spans] == [("A-1", "order_number"), ("Ann Lee", "person")]
    assert parse("nothing") == ("nothing", ())


@pytest.mark.parametrize(("task", "count"), [("intent", 12), ("sentiment", 3)])
def test_the_chosen_label_and_the_channel_as_domain(task, count):
    stream = build("dataset", {"name": "support", "task": task, "labels_per_class": 5}, data_dir=None).stream()
    (stage,) = stream.stages
    assert len(stream.spec.tasks[0].labels) == count and stream.spec.domains == CHANNELS
    assert len(stage.train) == 5 * count and len(stage.validation) == 96 and len(stage.test) == 288
    row = stage.test[3]
    message = EVERYTHING["test"][3]
    assert row["input"] == message.text and CHANNELS[row["domain"]] == message.channel
    assert stream.spec.tasks[0].labels[int(row["labels"][task])] == getattr(message, task)


@pytest.mark.parametrize(("task", "count"), [("intent", 12), ("sentiment", 3)])
def test_without_labels_every_class_is_described_once(task, count):
    (stage,) = build("dataset", {"name": "support", "task": task, "labels_per_class": 0}).stream().stages
    described = list(stage.train)
    assert [int(row["labels"][task]) for row in described] == list(range(count))
    assert len({row["input"] for row in described}) == count
    assert not {row["input"] for row in described} & {message.text for message in MESSAGES}
    numbers = [set(rows.index.tolist()) for rows in (stage.train, stage.validation, stage.test)]
    assert sum(map(len, numbers)) == len(set.union(*numbers))
    assert (len(stage.validation), len(stage.test)) == (96, 288)
