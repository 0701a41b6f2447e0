"""The index: where plugins come from, the cache, broken ones, and loading."""

import json
import os
import sys

import pytest

from tlresearch.config import cache, reader, registry
from tlresearch.config.errors import ConfigError

METHOD = '''
from tlresearch import Method, register

@register("method", "{name}")
class Plugin(Method):
    """{doc}"""
'''


def test_built_in_plugins_are_there_without_their_modules():
    entry = registry.index()["dataset", "digits"]
    assert (entry.module, entry.origin, entry.error) == ("tlresearch.datasets.digits", "built-in", "")


def test_plugins_of_the_working_folder(elsewhere):
    (elsewhere / "work/plugins/folder").mkdir(parents=True)
    (elsewhere / "work/plugins/one.py").write_text(METHOD.format(name="toy_one", doc=""))
    (elsewhere / "work/plugins/folder/two.py").write_text(METHOD.format(name="toy_two", doc=""))
    (elsewhere / "work/plugins/test_three.py").write_text(METHOD.format(name="toy_three", doc=""))
    found = {name: entry.origin for (_, name), entry in registry.index().items() if name.startswith("toy_")}
    assert found == {"toy_one": "plugins/", "toy_two": "plugins/"}


def test_a_folder_named_twice_counts_once(elsewhere, monkeypatch):
    (elsewhere / "work/plugins").mkdir()
    (elsewhere / "work/plugins/one.py").write_text(METHOD.format(name="toy_one", doc=""))
    monkeypatch.setenv("TLRESEARCH_PLUGINS", os.pathsep.join(["plugins", str(elsewhere / "work/plugins")]))
    assert registry.find("method", "toy_one").error == ""


def test_an_installed_package_is_read_but_not_imported(elsewhere, monkeypatch):
    package = elsewhere / "site/outsider/parts"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "mine.py").write_text(METHOD.format(name="toy_packaged", doc="From a package."))
    info = elsewhere / "site/outsider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tlresearch.plugins]\nmine = outsider.parts\n")
    monkeypatch.syspath_prepend(str(elsewhere / "site"))
    entry = registry.find("method", "toy_packaged")
    assert (entry.module, entry.origin) == ("outsider.parts.mine", "package outsider")
    assert "outsider" not in sys.modules


def test_two_plugins_of_one_name(plugin):
    first = plugin("first.py", METHOD.format(name="toy_same", doc=""))
    second = plugin("second.py", METHOD.format(name="toy_same", doc=""))
    plugin("third.py", METHOD.format(name="toy_other", doc=""))
    with pytest.raises(ConfigError, match="two plugins of one name") as error:
        registry.find("method", "toy_same")
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)
    assert registry.find("method", "toy_other").error == ""


@pytest.mark.parametrize(
    ("kind", "option", "reason"),
    [
        ("dataset", "validation: float = 0.5", "one that every dataset has"),
        ("dataset", "name: str = ''", "'name' is one that every dataset has"),
        ("metod", "x: int = 1", "did you mean 'method'"),
    ],
)
def test_what_a_file_alone_does_not_show(plugin, kind, option, reason):
    plugin("odd.py", f'@register("{kind}", "toy_odd")\nclass Odd:\n    def __init__(self, *, {option}): ...\n')
    assert reason in registry.index()[kind, "toy_odd"].error


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown dataset 'digit'; did you mean 'digits'"):
        registry.find("dataset", "digit")


def test_a_plugin_whose_name_is_no_literal_is_told_where_a_name_is_not_found(plugin):
    file = plugin("named.py", '\nNAME = "toy"\n\n@register("method", NAME)\nclass Toy:\n    """Toy."""\n')
    with pytest.raises(ConfigError, match="unknown method 'toy'") as error:
        registry.find("method", "toy")
    assert f"; perhaps Toy in {file}:5: register('method', NAME): must be two string literals" in str(error.value)
    assert "perhaps" not in registry.unknown("config", "toy", ["a"])


def test_an_unknown_kind_is_refused_where_it_is_registered():
    with pytest.raises(ConfigError, match="did you mean 'method'"):
        registry.register("metod", "x")


def count_reads(monkeypatch):
    seen = []
    original = reader.read
    monkeypatch.setattr(reader, "read", lambda file: seen.append(file.name) or original(file))
    return seen


def fresh_index():
    registry._index.cache_clear()
    return registry.index()


def test_unchanged_files_come_from_the_cache_equal_to_what_was_read(toys, monkeypatch):
    first = dict(fresh_index())
    seen = count_reads(monkeypatch)
    assert fresh_index() == first
    assert seen == []


def test_a_changed_file_is_read_again_and_only_that_one(plugin, toys, monkeypatch):
    file = plugin("one.py", METHOD.format(name="toy_one", doc="Before."))
    fresh_index()
    seen = count_reads(monkeypatch)
    file.write_text(METHOD.format(name="toy_one", doc="After it."))
    assert fresh_index()["method", "toy_one"].summary == "After it."
    assert seen == ["one.py"]


def test_a_cache_that_is_garbage_is_ignored(toys):
    expected = dict(fresh_index())
    for content in ("{", "[]", json.dumps({"readers": "", "files": 3})):
        cache.location().write_text(content)
        assert fresh_index() == expected


def test_a_cache_that_cannot_be_written_is_no_error(elsewhere, monkeypatch, toys):
    (elsewhere / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "file"))
    assert fresh_index()["method", "toy_low"].error == ""


def test_deleted_files_leave_the_cache(plugin):
    file = plugin("one.py", METHOD.format(name="toy_one", doc=""))
    fresh_index()
    file.unlink()
    plugin("two.py", METHOD.format(name="toy_two", doc=""))
    fresh_index()
    files = json.loads(cache.location().read_text())["files"]
    assert str(file) not in files
    assert str(file.with_name("two.py")) in files


def test_load_returns_the_class_of_that_file(toys):
    plugin = registry.load("method", "toy_low")
    assert plugin.__name__ == "Low"
    assert plugin is registry.load("method", "toy_low")


def test_a_folder_plugin_may_use_relative_imports(elsewhere):
    folder = elsewhere / "work/plugins/mine"
    folder.mkdir(parents=True)
    (folder / "parts.py").write_text("VALUE = 7\n")
    text = METHOD.format(name="toy_relative", doc="") + "    seven = VALUE\n"
    (folder / "plugin.py").write_text("from .parts import VALUE\n" + text)
    assert registry.load("method", "toy_relative").seven == 7


def test_a_folder_plugin_may_be_a_package(elsewhere):
    folder = elsewhere / "work/plugins/mine"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(METHOD.format(name="toy_package", doc="") + "    eight = 8\n")
    assert registry.load("method", "toy_package").eight == 8


def test_a_plugin_that_fails_at_import_names_the_reason(plugin):
    file = plugin("sad.py", "import no_such_module_anywhere\n" + METHOD.format(name="toy_sad", doc=""))
    with pytest.raises(ConfigError, match="fails at import: ModuleNotFoundError: No module named") as error:
        registry.load("method", "toy_sad")
    assert str(file) in str(error.value)
