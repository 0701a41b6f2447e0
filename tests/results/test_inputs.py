"""What is found in files and folders: in order, nothing hidden, nothing dropped unsaid."""

import gzip
import io
import json
import logging

import pytest
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.results.inputs import check_images, images, texts

NOTHING = io.BytesIO()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working folder with photos/, of which three files count."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.JPG", "ünder way/a 1.png", "ünder way/deep/z.webp", ".hidden.png", ".cache/x.png", "notes.md"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "photos/ünder way/up").symlink_to(tmp_path / "photos")
    return tmp_path


def names(found):
    return [row.name for row in found]


def problems(make, *arguments):
    with pytest.raises(ConfigError) as error:
        list(make(*arguments))
    return [str(problem) for problem in error.value.problems]


def test_folders_are_walked_and_what_is_left_out_is_counted(photos, caplog):
    with caplog.at_level(logging.WARNING, logger="tlresearch"):
        found = images(["photos/ünder way/a 1.png", "photos"], NOTHING)
    inside = ["photos/b.JPG", "photos/ünder way/a 1.png", "photos/ünder way/deep/z.webp"]
    assert names(found) == [inside[1], *inside]
    assert [str(row.value) for row in found] == names(found)
    assert caplog.messages == ["photos: left out: 2 hidden, 1 .md, 1 linked in a circle"]


def test_standard_input_names_images(photos):
    listed = io.BytesIO("photos/b.JPG\n\nphotos/ünder way/deep\n".encode())
    assert names(images(["-"], listed)) == ["photos/b.JPG", "photos/ünder way/deep/z.webp"]
    assert not listed.closed


def test_every_place_without_images_is_named(photos):
    (photos / "empty").mkdir()
    told = problems(images, ["photos/notes.md", "nowhere", "photos", "empty"], NOTHING)
    assert [line.split(": ")[1] for line in told] == ["'photos/notes.md'", "'nowhere'", "'empty'"]
    assert ".jpg" in told[0] and "no such file or folder" in told[1] and "no image in this folder" in told[2]
    assert "names nothing" in problems(images, ["-"], io.BytesIO())[0]


def test_broken_images_are_named_before_anything_is_predicted(photos):
    Image.new("RGB", (3, 2)).save(photos / "good.png")
    found = images(["good.png", "photos", "photos", "photos", "photos"], NOTHING)
    (told,) = problems(check_images, found)
    assert told.startswith("12 images cannot be read: 'photos/b.JPG' (is empty, 0 bytes), 'photos/ünder way/a 1.png'")
    assert told.count("(") == 10 and " and 2 more; mend or remove them, or let --on-error skip" in told
    check_images(found[:1])


TEXTS = [" one, two ", "", "drei ü 日本", 'say "hi"']


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_lines_of_a_plain_text(tmp_path, encoding, end):
    wanted = [text.replace("日本", "") if encoding == "cp1252" else text for text in TEXTS]
    content = end.join([*wanted, ""]).encode(encoding)
    plain, packed = tmp_path / "a b.txt", tmp_path / "c.txt.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    given = encoding if encoding == "cp1252" else None
    for file in (plain, packed):
        found = list(texts([str(file)], NOTHING, "text", given))
        assert [row.value for row in found] == wanted
        assert found[2].name == f"{file}, line 3"


def test_standard_input_holds_texts(tmp_path):
    found = list(texts(["-"], io.BytesIO("\n".join(TEXTS).encode()), "text"))
    assert [row.value for row in found] == TEXTS and found[1].name == "standard input, line 2"
    assert [row.value for row in texts(["-"], io.BytesIO(b"\xe7a va"), "text", "cp1252")] == ["ça va"]


def test_columns_of_tables(tmp_path):
    (tmp_path / "a.csv").write_text('id;body\n1;"two\nlines"\n')
    (tmp_path / "b.jsonl").write_text(json.dumps({"body": "x\u2028y"}) + "\n")
    found = list(texts([str(tmp_path / "b.jsonl"), str(tmp_path / "a.csv")], NOTHING, "body"))
    assert [row.value for row in found] == ["x\u2028y", "two\nlines"]


def test_texts_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in (
        ("a.csv", b"text\n"),
        ("b.txt", b""),
        ("c.txt", b"a\n\xe7\n"),
        ("d.png", b""),
        ("e.csv", b"t\n1\n"),
    ):
        (tmp_path / name).write_bytes(content)
    told = problems(texts, ["nowhere.txt", "d.png", "."], NOTHING, "text")
    assert [line.split(": ")[1] for line in told] == ["'nowhere.txt'", "'d.png'", "'.'"]
    assert all("the run reads texts: .csv" in line for line in told[1:])
    for name in ("a.csv", "b.txt"):
        assert problems(texts, [name], NOTHING, "text") == [f"FILES: '{name}': holds no rows"]
    assert problems(texts, ["-"], io.BytesIO(), "text") == ["FILES: '-': holds no rows"]
    assert "line 2 of c.txt holds b'\\xe7'" in problems(texts, ["c.txt"], NOTHING, "text")[0]
    assert problems(texts, ["e.csv"], NOTHING, "text")[0].startswith("--text-column: 'text': no such column")
    for encoding in ("utf-8", "nonsense"):
        assert problems(texts, ["-"], io.BytesIO(b"\xe7"), "text", encoding)[0].startswith(f"--encoding: '{encoding}'")
