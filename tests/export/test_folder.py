"""A folder that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlresearch.export.folder import building


@pytest.fixture
def place(tmp_path):
    """A folder with nothing in it."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_what_was_built_appears_at_the_end_only(place):
    target = place / "new" / "out"
    with building(target) as folder:
        (folder / "file").write_text("whole")
        assert not target.parent.exists()
    assert (target / "file").read_text() == "whole"
    assert [path.name for path in place.iterdir()] == ["new"]


def test_an_empty_folder_is_taken_and_a_failure_leaves_nothing(place, monkeypatch):
    (place / "out").mkdir()

    def interrupted():
        with building(place / "out") as folder:
            (folder / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in place.iterdir()] == ["out"]
    assert not list((place / "out").iterdir())
    monkeypatch.chdir(place / "out")
    with building(Path()) as folder:
        (folder / "file").write_text("whole")
    assert [path.name for path in Path().iterdir()] == ["file"]
    assert (place / "out" / "file").read_text() == "whole"
