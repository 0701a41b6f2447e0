"""The page as a file: complete in itself, safe whatever the names are, and written by the command."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from tlresearch.commands.main import main
from tlresearch.results.page.values import CHARACTERS, embedded

HOSTILE = "<script>alert(1)</script><!-- \"quotes\" 'and' & ünïcödé 好 🙂 \u2028 \udc80"

VOID = {"meta", "link", "input", "br"}


class Outline(HTMLParser):
    """Elements with their attributes, the text of scripts and styles, and whether every element is closed."""

    def __init__(self, document):
        super().__init__()
        self.open, self.elements, self.texts = [], [], {}
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            of = dict(self.elements[-1][1]).get("type", self.open[-1])
            self.texts[of] = self.texts.get(of, "") + data


def data_of(document):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(Outline(document).texts["application/json"], parse_constant=refuse)


@pytest.fixture
def hostile(add, tmp_path, document):
    """The page of runs whose every name is hostile, and one of 5,000 characters."""
    domains = {HOSTILE: {"accuracy": 0.5, "rows": 3}, "b": {"accuracy": 1, "rows": 3}}
    add(0.5, method=HOSTILE, metrics={"domain": domains})
    add(0.6, method=HOSTILE, seed=1, history=[{"step": 1, f"validation/{HOSTILE}": 1.0}])
    add(0.7, method="a" * 5000)
    add(None, method="c", status="failed", error=HOSTILE)
    return document(tmp_path / "runs")


def test_nothing_is_fetched_from_anywhere(trained, document, monkeypatch):
    monkeypatch.chdir(trained.parent)
    text = document(trained)
    outline = Outline(text)
    assert not outline.open
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    for tag, attributes in outline.elements:
        assert not {"src", "srcset", "action", "data", "style"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
        if "href" in attributes:
            assert attributes["href"] == "data:," or attributes["href"].startswith("#")


def test_only_its_own_script_and_style_may_run(hostile):
    outline = Outline(hostile)
    (policy,) = [a["content"] for tag, a in outline.elements if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for of, rule in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256(outline.texts[of].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_names_that_look_like_markup_stay_data(hostile):
    outline = Outline(hostile)
    assert [tag for tag, _ in outline.elements].count("script") == 2
    assert "<!--" not in hostile and "alert(1)</script>" not in hostile
    hostile.encode()  # a lone surrogate from a file's name does not break the file
    data = data_of(hostile)
    names = {group["name"] for group in data["comparisons"][0]["groups"]}
    assert any("<script>alert(1)</script><!-- \"quotes\" 'and' & ünïcödé 好 🙂" in name for name in names)
    assert all(len(name) <= CHARACTERS for name in names)
    (lost,) = data["comparisons"][0]["not_done"]
    assert lost["error"].startswith("<script>alert(1)</script>")


def test_embedded_json_is_the_same_data():
    value = {"a": ["</script>", "<!--", "&amp;", "\u2028", "好"], "b": 0.1, "c": None}
    assert json.loads(embedded(value)) == value
    assert embedded(value).isascii() and not re.search("[<>&]", embedded(value))
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"a": float("nan")})


def test_the_command_writes_it(add, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    add(0.5)
    add(2.0, metric="test.rmse", method="lora")
    add(None, status="failed", error="no", seed=1)
    assert main(["report", "--format", "html", "--output", "page.html"]) == 0
    assert capsys.readouterr().out == "page.html\n"
    assert main(["report", "--format", "html"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "page.html").read_text(encoding="utf-8")
    assert {file.name for file in tmp_path.iterdir()} == {"runs", "page.html"}
    data = data_of(printed)
    accuracy, error = data["comparisons"]
    assert (accuracy["metric"], accuracy["better"]) == ("test.accuracy", "higher")
    assert (error["metric"], error["better"]) == ("test.rmse", "lower")
    assert [[group["mean"] for group in one["groups"]] for one in (accuracy, error)] == [[0.5], [2.0]]
    assert [len(one["not_done"]) for one in (accuracy, error)] == [1, 0]


def test_an_empty_store_has_a_page_too(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    assert main(["report", str(tmp_path / "runs"), "--format", "html"]) == 0
    assert data_of(capsys.readouterr().out)["comparisons"][0]["groups"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--output", "page.html"], "goes with --format html"),
        (["--format", "html", "--output", "nowhere/page.html"], "in a folder that exists"),
        (["--format", "html", "--output", "."], "is no file"),
        (["--format", "html", f"runs/{0:016x}"], "compares the runs of a store"),
    ],
)
def test_mistakes_write_nothing(add, tmp_path, monkeypatch, capsys, given, said):
    monkeypatch.chdir(tmp_path)
    add(0.5)
    assert main(["report", *given]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]
