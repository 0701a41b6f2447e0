"""The report on the data, against tables whose rows can be counted by eye."""

import json
import struct
from collections import UserList
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import IGNORE, Spec, Stage, Stream, Task
from tlresearch.datasets.text_file import TextFile
from tlresearch.results import announcement, extent
from tlresearch.results.description import describe, lines, warnings

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
TASK = Task("tone", "classification", ("glad", "sad", "rude"))
TRAIN = [("good day", 0), ("Good  day\n", 0), ("bad day", 1), ("oh no no", 1), ("", 0), ("go  away", 2)]
VALIDATION = [("GO AWAY", 1), ("fine", 0)]
TEST = [("good DAY", 0), ("bad day", 1), ("what a nice surprise this is", 0), ("  ", 1)]


def rows(table, first=0, domain=None):
    texts, labels = zip(*table, strict=True)
    index = torch.arange(first, first + len(table))
    return Rows(list(texts), {TASK.name: torch.tensor(labels)}, domain, index)


def stream(*stages, modality="text", domains=("default",), shape=None, task=TASK):
    return Stream(Spec(modality, shape, (task,), domains), stages)


@pytest.fixture
def texts():
    return stream(Stage("mails", (TASK,), rows(TRAIN), rows(VALIDATION, 6), rows(TEST, 8)))


def findings(description):
    return {found["kind"]: (found["count"], found["examples"]) for found in description["suspicious"]}


def test_what_is_counted(texts):
    found = describe(texts)
    assert found["rows"] == {"train": 6, "validation": 2, "test": 4}
    assert found["labels"] == {
        "tone": {
            "glad": {"train": 3, "validation": 1, "test": 2},
            "sad": {"train": 2, "validation": 1, "test": 2},
            "rude": {"train": 1, "validation": 0, "test": 0},
        }
    }
    assert found["domains"] == {"default": {"train": 6, "validation": 2, "test": 4}}
    # words, sorted: 0 0 1 2 2 2 2 2 2 2 3 6
    assert found["inputs"] == {"unit": "words", "minimum": 0, "median": 2, "percentile_95": 6, "maximum": 6}
    assert json.loads(json.dumps(found)) == found


def test_what_is_suspicious(texts):
    assert findings(describe(texts)) == {
        "test_in_train": (2, ["test 8 'good DAY' = train 0", "test 9 'bad day' = train 2"]),
        "validation_in_train": (1, ["validation 6 'GO AWAY' = train 5"]),
        "repeated": (1, ["train 1 'Good day' = train 0"]),
        "several_labels": (1, ["validation 6 'GO AWAY' = train 5"]),
        "empty_texts": (2, ["train 4", "test 11"]),
        "single_row_classes": (1, ["'rude'"]),
        "absent_from_validation": (1, ["'rude'"]),
        "absent_from_test": (1, ["'rude'"]),
    }


def test_what_is_said(texts):
    said = lines(describe(texts))
    assert said[:3] == [
        "data        mails: 12 texts of 0 to 6 words (median 2, 95 % have at most 6)",
        "rows        train 6, validation 2, test 4",
        "classes     3 of tone; train rows: glad (3), sad (2), rude (1); "
        "always guessing 'glad' has test.accuracy 0.5000",
    ]
    overlap = "test rows that occur in train too, so that test scores are too good: 2"
    assert said[3] == f"suspicious  {overlap} (test 8 'good DAY' = train 0; test 9 'bad day' = train 2)"
    assert said[3:] == warnings(describe(texts)) and len(said) == 11


def test_clean_data_say_so_and_only_three_examples_are_named():
    clean = describe(stream(Stage("s", (TASK,), *(rows([(f"{s} {i}", i % 3) for i in range(6)]) for s in "abc"))))
    assert clean["suspicious"] == [] and lines(clean)[0].endswith("; nothing suspicious")
    same = describe(stream(Stage("s", (TASK,), *(rows([("same", 0)] * 5 + [("x", 1), ("y", 2)]) for _ in "abc"))))
    (said,) = [line for line in lines(same) if "repeat" in line]
    assert said.endswith(": 12 (train 1 'same' = train 0; train 2 'same' = train 0; train 3 'same' = train 0; …)")


def test_a_long_text_is_cut_and_a_huge_cell_does_not_change_the_unit():
    table = [(f"number {i} " + "x" * 100, i % 3) for i in range(3)]
    parts = rows([*table, ("z" * 100_000, 0)]), rows(table), rows(table)
    found = describe(stream(Stage("s", (TASK,), *parts)))
    assert found["inputs"] == {
        "unit": "characters",
        "minimum": 109,
        "median": 109,
        "percentile_95": 100_000,
        "maximum": 100_000,
    }
    assert findings(found)["test_in_train"][1][0] == f"test 0 {'number 0 ' + 'x' * 20 + '…'!r} = train 0"
    assert extent.lengths(["a b c", "d e", "z" * 100_000])["unit"] == "words"
    assert extent.lengths(["これは単語の間に空白のない文です。短くない。"])["unit"] == "characters"


def test_where_the_sets_come_from():
    table = rows([(f"text {i}", i % 3) for i in range(30)])
    split = describe(stream(Sampling(labels_per_class=2, sample_seed=7).stage("s", (TASK,), table, None, None)))
    assert split["rows"] == {"train": 6, "validation": 6, "test": 6}
    counts, labels = lines(split)[1:3]
    assert counts.endswith("test 6; split off: test 20 % and validation 20 % of each class (split_seed=0)")
    assert labels == "labels      2 train rows of each class are kept, drawn from 18 (sample_seed=7)"
    given = describe(stream(Sampling(split_seed=3).stage("s", (TASK,), table, None, table)))
    said = "split off: validation 20 % of each class (split_seed=3); train and test as the data bring them"
    assert lines(given)[1].endswith(said)
    every = describe(stream(Sampling(labels_per_class=0).stage("s", (TASK,), table, table, table, None, table)))
    assert lines(every)[1].endswith("; all as the data bring them")
    assert lines(every)[2].startswith("labels      none of the 30 train rows are kept")


def test_one_row_of_a_class_is_no_news_where_few_were_drawn():
    table, none = rows([(f"{i}", i % 3) for i in range(9)]), rows([("9", 0), ("8", 1)])
    found = describe(stream(Sampling(labels_per_class=1).stage("s", (TASK,), table, none, none)))
    assert "single_row_classes" not in findings(found) and findings(found)["absent_from_test"] == (1, ["'rude'"])


def test_domains_unlabelled_rows_and_labels_that_are_missing():
    domain = torch.tensor([0, 0, 1, 1, 1, 1])
    unlabelled = rows([("good day", IGNORE)] * 3, 20, torch.ones(3, dtype=torch.int64))
    parts = rows(TRAIN, domain=domain), rows(VALIDATION, 6), rows([("new", IGNORE), ("newer", IGNORE)], 8)
    found = describe(stream(Stage("s", (TASK,), *parts, unlabelled), domains=("mail", "chat")))
    assert found["domains"]["chat"] == {"train": 4, "validation": 0, "test": 0, "unlabelled": 3}
    assert "domains     mail (6), chat (7)" in lines(found)
    assert found["rows"]["unlabelled"] == 3 and found["labels"]["tone"]["glad"]["test"] == 0
    assert "always guessing" not in "".join(lines(found)), "no test label, no chance level"
    assert findings(found)["repeated"][0] == 1, "repeats among the unlabelled are nobody's business"


def test_stages_share_rows_and_each_counts_once():
    one, two = rows([(f"a {i}", 0) for i in range(4)]), rows([(f"b {i}", 1) for i in range(3)], 4)
    more = [rows([(f"c {i}", 0)], 7 + i) for i in range(4)]
    cumulative = Rows.concatenate([one, two])
    stages = Stage("s0", (TASK,), one, more[0], more[1]), Stage("s1", (TASK,), cumulative, more[2], more[3])
    found = describe(stream(*stages, domains=("s0", "s1")))
    assert found["rows"] == {"train": 7, "validation": 2, "test": 2}
    assert "repeated" not in findings(found)
    assert "s1          train 7, validation 1, test 1; trains glad, sad" in lines(found)
    assert not [line for line in lines(found) if line.startswith("domains")], "they are the stages"


def test_many_stages_and_classes_are_summed_up():
    task = Task("n", "classification", tuple(map(str, range(500))))
    sets = [Rows([f"{s}{i}" for i in range(501)], {"n": torch.arange(501) % 500}) for s in "abc"]
    found = describe(stream(*(Stage(f"s{i}", (task,), *sets) for i in range(20)), task=task))
    assert len(lines(found)) == 3 + 8 + 1 and lines(found)[-1] == "…           12 more stages"
    assert "train rows: 499 (1) to 0 (2); always guessing '0'" in lines(found)[2]
    assert max(map(len, lines(found))) < 150


@pytest.fixture
def files(tmp_path):
    """Six pictures: one twice in train, once more in test under another name and class, one grey."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (10 + i, 20, 3), dtype=np.uint8) for i in range(4)]
    chosen = {"cat/1.png": 0, "cat/2.png": 0, "dog/3.png": 1, "dog/4.png": 2, "cat/5.png": 3, "dog/6.png": 0}
    for name, i in chosen.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = Image.fromarray(pixels[i])
        (image.convert("L") if i == 3 else image).save(tmp_path / name)
    return [tmp_path / name for name in chosen]


def images(inputs, shape=None):
    task = Task("label", "classification", ("cat", "dog"))
    everything = Rows(inputs, {"label": torch.tensor([0, 0, 1, 1, 0, 1])})
    parts = (everything.take(torch.tensor(part)) for part in ([0, 1, 2], [3, 4], [5]))
    return stream(Stage("photos", (task,), *parts), modality="image", shape=shape, task=task)


def test_images_are_compared_by_content_and_measured_by_their_headers(files):
    found = describe(images(files))
    assert findings(found)["test_in_train"][1] == [f"{files[0].parts[-3]}/dog/6.png = {files[0].parts[-3]}/cat/1.png"]
    assert {kind: n for kind, (n, _) in findings(found).items()} == {
        "test_in_train": 1, "repeated": 1, "several_labels": 1, "absent_from_test": 1,
    }  # fmt: skip
    size = found["inputs"]
    assert (size["width"], size["height"]["minimum"], size["height"]["maximum"], size["grey"]) == (
        dict.fromkeys(("minimum", "median", "percentile_95", "maximum"), 20), 10, 13, 1,
    )  # fmt: skip
    said = lines(found)[0]
    assert said == "data        photos: 6 images of 20 x 10 to 20 x 13 pixels (median 20 x 10), 1 grey and 5 in colour"


def test_many_images_are_sampled(files, monkeypatch):
    monkeypatch.setattr(extent, "MOST_FILES", 4)
    size = describe(images(files))["inputs"]
    assert (size["sampled"], size["of"]) == (4, 6) and describe(images(files))["inputs"] == size
    assert lines(describe(images(files)))[0].endswith("(of 4 sampled)")


def test_tensors_are_compared_too_and_nan_is_a_value():
    x = torch.zeros(6, 1, 4, 5)
    x[1:5] += torch.arange(4).view(4, 1, 1, 1)
    x[3, 0, 0, 0] = x[4, 0, 0, 0] = float("nan")
    found = describe(images(x, (1, 4, 5)))
    assert findings(found)["test_in_train"] == (1, ["test 5 = train 0"])
    assert findings(found)["repeated"] == (1, ["train 1 = train 0"])
    assert "6 images of 5 x 4 pixels, grey" in lines(found)[0]


def test_images_made_on_demand_are_not_decoded_for_a_comparison():
    read = []

    class Made(UserList):
        def __getitem__(self, i):
            read.append(i)
            return self.data[i]

    found = describe(images(Made(torch.zeros(6, 3, 4, 5).unbind())))
    assert lines(found)[0].endswith("in colour; repeats not looked for") and not found["compared"]
    assert len(read) <= 6 + 4, "each once for its size, the first of each set and of all to know its kind"


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (torch.zeros(3, 4, 5), (5, 4, False)), (torch.zeros(4, 5), (5, 4, True)), (np.zeros((4, 5, 3)), (5, 4, False)),
        (np.zeros((1, 4, 5)), (5, 4, True)), (Image.new("CMYK", (5, 4)), (5, 4, False)),
        (Image.new("I;16", (5, 4)), (5, 4, True)), (Image.new("P", (5, 4)), (5, 4, False)),
    ],
)  # fmt: skip
def test_the_size_of_anything_that_is_an_image(image, size):
    assert extent.size(image) == size


def test_an_unreadable_image_is_left_to_the_backbone(tmp_path, files):
    files[1].write_bytes(b"no image")
    assert describe(images(files))["inputs"]["sampled"] == 5


def test_a_huge_jpeg_is_measured_by_its_header(tmp_path):
    """Pillow refuses to open one of more than 179 megapixels; the backbone decodes it at a fraction of its size."""
    file = tmp_path / "huge.jpg"
    Image.new("L", (16, 16)).save(file)
    content = bytearray(file.read_bytes())
    start = content.index(b"\xff\xc0") + 5  # baseline frame: marker, length, precision, height, width
    content[start : start + 4] = struct.pack(">HH", 20_000, 30_000)
    file.write_bytes(content)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(file)
    assert extent.size(file) == (30_000, 20_000, True)


def test_vectors():
    vectors = images(torch.arange(24.0).view(6, 4))
    found = describe(Stream(vectors.spec._replace(modality="vector", input_shape=(4,)), vectors.stages))
    assert lines(found)[0] == "data        photos: 6 vectors of 4 numbers"


def test_a_line_is_said_once_until_the_next_command(capsys):
    announcement.forget()
    for batch in (["a", "b"], ["a", "c"], ["b", "c"]):
        announcement.announce(batch, otherwise="as before")
    assert capsys.readouterr().err.split("\n") == ["a", "b", "c", "as before", ""]
    announcement.forget()
    announcement.announce(["a"])
    announcement.announce(["a"])
    assert capsys.readouterr().err == "a\n"
    announcement.forget()


def test_sst2_has_the_repeats_that_others_counted():
    if not SHARED.is_dir():
        pytest.skip("shared/data is absent")
    found = findings(describe(TextFile(Sampling(), None, path=str(SHARED / "sst2")).stream()))
    assert {kind: count for kind, (count, _) in found.items()} == {"test_in_train": 2, "repeated": 9}
