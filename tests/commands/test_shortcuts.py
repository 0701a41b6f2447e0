"""Hydra's mode: composed for where something may set it, and nowhere else. Its store: looked into, never changed.

Its table of choices: made where a name depends on one.
"""

import copy
from contextlib import contextmanager

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore

from tlresearch.config import shortcuts
from tlresearch.config.compose import compose


@pytest.fixture
def composed(monkeypatch):
    """The overrides of each composition."""
    calls, real = [], ConfigLoaderImpl.load_configuration

    def load_configuration(self, config_name, overrides, *arguments, **named):
        calls.append(list(overrides))
        return real(self, config_name, overrides, *arguments, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load_configuration)
    return calls


@contextmanager
def as_hydra_does(monkeypatch):
    """Compositions leave nothing out."""
    with monkeypatch.context() as patch:
        patch.delattr(ConfigStore, "__deepcopy__")
        patch.setattr(defaults_list, "_create_interpolation_map", shortcuts._choices)
        patch.setattr(shortcuts, "install", lambda: None)
        yield


def test_a_run_is_composed_once(run, executed, composed):
    assert run("train", "seed=1")[0] == 0
    assert (len(executed), len(composed)) == (1, 1)
    assert run("train", "-m", "seed=1,2")[0] == 0
    assert (len(executed), len(composed)) == (3, 3), "the sweep, and once its runs, which differ in their seed alone"


@pytest.mark.parametrize("override", ["hydra.mode=MULTIRUN", "++hydra={mode: MULTIRUN}"])
def test_an_override_makes_a_sweep_of_it(override, run, executed):
    assert run("train", "seed=1,2", override)[0] == 0
    assert [config["seed"] for config, _ in executed] == [1, 2]


@pytest.mark.parametrize("mode", ["MULTIRUN", "RUN"])
def test_so_does_a_file_of_one_s_own(mode, run, executed, folder):
    (folder / "mine").mkdir()
    (folder / "mine/twice.yaml").write_text(f"defaults: [config, _self_]\nhydra:\n  mode: {mode}\n")
    code, _, err = run("train", "--config-dir", "mine", "-cn", "twice", "seed=1,2")
    if mode == "MULTIRUN":
        assert (code, [config["seed"] for config, _ in executed]) == (0, [1, 2])
    else:
        assert (code, executed) == (2, []) and "seed" in err


def test_what_is_left_out_changes_nothing(monkeypatch):
    overrides = ["method=[lora]", "optimizer.lr=0.1", "seed=3"]
    shared = [compose(overrides) for _ in range(2)]
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    with as_hydra_does(monkeypatch):
        before = copy.deepcopy(store).repo
        assert compose(overrides) == shared[0] == shared[1]
    compose(["optimizer.lr=0.2"])
    assert store.repo == before


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_names_of_files_may_depend_on_choices(folder, dataset, monkeypatch):
    for number, name in enumerate(("digits", "mnist")):
        (folder / f"more_{name}.yaml").write_text(f"seed: {number + 5}\n")
    (folder / "mine.yaml").write_text('defaults: [config, "more_${dataset}", _self_]\n')
    overrides = ["method=[lora]", f"dataset={dataset}"]
    found = compose(overrides, "mine", [str(folder)])
    assert found.seed == {"digits": 5, "mnist": 6}[dataset]
    with as_hydra_does(monkeypatch):
        assert compose(overrides, "mine", [str(folder)]) == found
