"""What `tlresearch train` says of device and data before it trains, and what the record keeps of it."""

import json

import pytest
from PIL import Image

TINY = ("epochs=1", "progress=true", "backbone.width=4", "backbone.layers=1")


def start(line):
    return line.split()[0]


def test_a_run_says_where_and_on_what_it_trains(train):
    result = train(*TINY)
    said = result.err.splitlines()
    assert [start(line) for line in said] == ["device", "data", "rows", "classes"]
    assert said[0].startswith("device      cpu, 1 thread, precision 32-true; as accelerator=cpu says")
    assert said[1].startswith("data        digits: 1,797 images of 8 x 8 pixels, grey")
    record = result.run.record
    assert record["data"]["description"]["rows"] == {"train": 1076, "validation": 362, "test": 359}
    assert record["hardware"]["device"]["type"] == "cpu" and record["hardware"]["threads"] == 1
    assert json.loads((result.run.folder / "run.json").read_text()) == record
    again = train(*TINY)
    assert [start(line) for line in again.err.splitlines()] == ["already"]


def test_a_sweep_says_what_is_new(train):
    result = train(*TINY, "-m", "batch_size=64,128", "dataset.labels_per_class=3", "seed=1,2")
    *said, last = result.err.splitlines()
    assert [start(line) for line in said] == ["device", "data", "rows", "labels", "classes", "labels", "data", "data"]
    assert last == "4 runs: 4 done"
    assert "sample_seed=1" in said[3] and "sample_seed=2" in said[5]
    assert said[6] == said[7] == "data        digits, as described above"


@pytest.fixture
def table(folder):
    """Thirty mails; one is in both train and test, which are files of their own."""
    rows = [f"mail number {i},{'bill' if i % 3 else 'order'}" for i in range(30)]
    (folder / "mails").mkdir()
    (folder / "mails/train.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "mails/test.csv").write_text("\n".join(["text,label", "mail  Number 4,bill", "another one,order"]))


def test_texts_of_ones_own(train, table, tiny_bert_folder):
    backbone = ("backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}")
    text = ("dataset=text_file", "dataset.path=mails", *backbone, "epochs=1")
    result = train(*text, "progress=true")
    assert result.err.splitlines()[1:] == [
        "data        text_file: 32 texts of 2 to 3 words (median 3, 95 % have at most 3)",
        "rows        train 24, validation 6, test 2; split off: validation 20 % of each class (split_seed=0); "
        "train and test as the data bring them",
        "classes     2 of label; train rows: bill (16), order (8); always guessing 'bill' has test.accuracy 0.5000",
        "suspicious  test rows that occur in train too, so that test scores are too good: 1 "
        "(test 30 'mail Number 4' = train 4)",
    ]
    quiet = train(*text, "progress=false", "seed=1")
    assert [start(line) for line in quiet.err.splitlines()] == ["suspicious"]


def test_texts_that_are_cut_are_counted(train, table, tiny_bert_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_folder)
    lengths = [len(tokenizer(f"mail number {i}")["input_ids"]) for i in range(30)]
    in_test = [len(tokenizer(text)["input_ids"]) for text in ("mail  Number 4", "another one")]
    longest = max(lengths + in_test)
    text = (
        "dataset=text_file", "dataset.path=mails", "epochs=1",
        "backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}",
    )  # fmt: skip
    shorter = min(lengths) - 1
    result = train(*text, f"backbone.max_length={shorter}", "progress=true")
    said = f"30 of 30 texts (train, validation) are longer than max_length={shorter} tokens and are cut"
    assert f"cut         {said}" in result.err.splitlines()
    (stage,) = result.run.record["stages"]
    assert stage["cut"] == {"train": 24, "validation": 6, "test": sum(length > shorter for length in in_test)}
    again = train(*text, f"backbone.max_length={shorter}", "progress=false", "seed=1")
    assert "are cut" not in again.err
    assert again.run.record["stages"][0]["cut"] == stage["cut"], "also of rows that an earlier run has preprocessed"
    whole = train(*text, f"backbone.max_length={longest}", "progress=true")
    assert "are cut" not in whole.err
    assert whole.run.record["stages"][0]["cut"] == {"train": 0, "validation": 0, "test": 0}


def test_images_of_ones_own(train, folder):
    for i in range(12):
        (folder / f"photos/{'cat' if i % 2 else 'dog'}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (8 + i, 9), 20 * max(i, 2)).save(folder / f"photos/{'cat' if i % 2 else 'dog'}/{i}.png")
    (folder / "photos/cat/copy.png").write_bytes((folder / "photos/cat/3.png").read_bytes())
    (folder / "photos/dog/copy.png").write_bytes((folder / "photos/cat/3.png").read_bytes())
    result = train(*TINY, "dataset=image_folder", "dataset.path=photos", "backbone.image_size=8")
    assert result.err.splitlines()[1].startswith(
        "data        image_folder: 14 images of 8 x 9 to 19 x 9 pixels (median 12 x 9), grey"
    )
    kinds = {found["kind"]: found for found in result.run.record["data"]["description"]["suspicious"]}
    assert kinds["several_labels"]["count"] >= 1 and "copy.png" in str(kinds["several_labels"]["examples"])


def test_a_mistake_is_told_before_anything_else(refused):
    assert refused(*TINY, "method=[lora]", "method.lora.targets=nothing").startswith("method.lora.targets")


@pytest.mark.slow
def test_the_first_of_several_ranks_speaks(train):
    result = train(*TINY, "devices=2", "strategy=ddp")
    assert [start(line) for line in result.err.splitlines()] == ["device", "data", "rows", "classes"]
    assert result.err.startswith("device      cpu x 2, 1 thread")
