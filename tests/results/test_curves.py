"""The picture of a store, drawn from groups that are made up here."""

import math
import xml.etree.ElementTree as xml

import pytest
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.results.curves import _places, draw
from tlresearch.results.report import Group, titles


def group(mean, half=0.01, *, method=("probe",), labels=5, weights="package:w", head="linear", dataset="support"):
    row = {
        "method": list(method), "labels_per_class": labels, "weights": weights, "head": head, "dataset": dataset,
        "model": "package:m", "backbone": "transformers", "predictor": None, "cost": {"seconds_train": 2.0},
    }  # fmt: skip
    return Group([row], 3 if half else 1, mean, half)


def test_titles_say_scratch_only_beside_pretrained_weights():
    scratch = group(0.2, method=(), weights="none")
    assert titles([scratch, group(0.5, method=["lora", "ewc"])]) == ["scratch", "lora+ewc"]
    assert titles([scratch]) == ["finetune"]
    assert titles([group(0.5, method=["finetune"])]) == ["finetune"]


def test_titles_name_the_rare_head():
    groups = [group(0.5, head="prototype"), group(0.6), group(0.7, labels=20)]
    assert titles(groups, heads=True) == ["probe, prototype", "probe", "probe"]
    assert titles(groups) == ["probe"] * 3


def test_places_on_the_axis_double_with_the_labels():
    places = _places([20, 5, None, 0, 10, 5])
    assert list(places) == [0, 5, 10, 20, None]
    assert [places[10] - places[5], places[20] - places[10]] == pytest.approx([1, 1])
    assert places[0] < places[5]
    assert places[None] > places[20]
    assert _places([0, None]).keys() == {0, None}


def test_a_picture_is_written_twice_the_same(tmp_path):
    groups = [group(0.5), group(0.7, labels=20), group(0.4, None, labels=0), group(0.1, dataset="$x$")]
    first, second = (draw(groups, "test.accuracy", tmp_path / name / "picture") for name in ("a", "b"))
    assert [file.name for file in first] == ["picture.png", "picture.svg"]
    assert sorted(file.name for file in first[0].parent.iterdir()) == ["picture.png", "picture.svg"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    with Image.open(first[0]) as image:
        assert image.size[1] > 900, "two data sets, two rows"
    assert xml.parse(first[1]).getroot().tag.endswith("svg")


def test_a_group_without_numbers_is_left_out(tmp_path):
    lost = Group(group(0.5).rows, 0, None, None)
    draw([lost, group(0.5)], "test.accuracy", tmp_path / "picture")
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw([lost], "test.accuracy", tmp_path / "none")
    assert not (tmp_path / "none.png").exists()


def test_what_is_drawn_is_what_was_measured(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(Axes, "errorbar", lambda self, *xyhalf, **style: drawn.append(xyhalf))
    draw([group(0.5, 0.02), group(0.7, None, labels=10)], "test.accuracy", tmp_path / "picture")
    x, y, half = drawn[0]
    assert (x, y) == ((math.log2(5), math.log2(10)), (0.5, 0.7))
    assert half[0] == 0.02
    assert math.isnan(half[1])
    assert drawn[1:] == [(2.0, 0.5, 0.02), (2.0, 0.7, drawn[2][2])]
