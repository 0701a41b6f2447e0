"""Composition through Hydra, what the command line refuses, and what `check` finds."""

import os

import pytest
from hydra import compose as hydra_compose, initialize
from omegaconf import OmegaConf

import tlresearch
from tlresearch.config import registry
from tlresearch.config.compose import check, compose
from tlresearch.config.errors import ConfigError
from tlresearch.config.settings import Settings, documented


def plain(overrides=()):
    return OmegaConf.to_container(compose(overrides))


def mistakes(overrides):
    with pytest.raises(ConfigError) as error:
        check(compose(overrides))
    return str(error.value)


def test_the_defaults_are_complete_and_pass_the_check():
    config = compose()
    check(config)
    assert config.backbone.name == "convnet"
    assert config.dataset.name == "digits"
    assert config.method == {}
    assert list(config.tracker) == ["jsonl"]
    assert config.predictor is None
    assert "hydra" not in config


def test_methods_keep_the_order_of_the_list_and_take_options(toys):
    config = plain(["method=[toy_penalty,toy_low]", "method.toy_low.rank=3", "method.toy_low.extra.new=1"])
    assert list(config["method"]) == ["toy_penalty", "toy_low"]
    assert config["method"]["toy_low"] == {
        "rank": 3,
        "alpha": None,
        "targets": ["*"],
        "init": "zeros",
        "extra": {"new": 1},
    }


def test_common_options_come_from_the_base(toys):
    assert plain(["dataset=toy_rows", "dataset.path=x", "dataset.labels_per_class=5"])["dataset"] == {
        "name": "toy_rows",
        "path": "x",
        "rows": 3,
        "labels_per_class": 5,
        "validation": 0.2,
        "test": 0.2,
        "split_seed": 0,
        "sample_seed": None,
        "class_weights": "none",
    }


def test_heads_of_tasks_need_no_plus():
    assert plain(["heads.fine=mlp", "heads.coarse={name: mlp, width: 8}"])["heads"]["fine"] == "mlp"


@pytest.mark.parametrize(
    ("preset", "methods"), [("scratch", []), ("probe", ["probe"]), ("finetune", ["finetune"]), ("lora", ["lora"])]
)
def test_presets(preset, methods):
    assert list(plain([f"preset={preset}"])["method"]) == methods


def test_the_scratch_preset_takes_random_weights_and_the_command_line_wins():
    assert plain(["preset=scratch"])["backbone"]["weights"] == "none"
    assert plain(["preset=scratch", "backbone.weights=hub"])["backbone"]["weights"] == "hub"
    assert list(plain(["preset=probe", "method=[ewc]"])["method"]) == ["ewc"]


def test_composing_again_and_within_hydra_changes_nothing():
    first = plain(["seed=1"])
    with initialize(version_base="1.3", config_path=None):
        assert plain(["seed=1"]) == first
        assert hydra_compose(overrides=["+a=1"]).a == 1  # its state is still that of the caller
    assert plain(["seed=1"]) == first


def test_the_public_name():
    assert tlresearch.compose(["seed=3"]).seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bakbone=timm", "bakbone: unknown key; did you mean 'backbone'?"),
        ("backbone=tim", "unknown backbone 'tim'; did you mean 'timm'?"),
        ("method=[toy_pnalty]", "unknown method 'toy_pnalty'; did you mean 'toy_penalty'?"),
        ("preset=scrach", "unknown preset 'scrach'; did you mean 'scratch'? Allowed: finetune, lora, lp_ft, probe"),
        ("steps=abc", "steps: 'abc': must be an integer"),
        ("seed=null", "seed: null: must be an integer, null is not allowed"),
        ("progress=maybe", "progress: 'maybe': must be true or false"),
        ("optimizer.lr=fast", "optimizer.lr: 'fast': must be a number"),
        ("stps=3", "stps: unknown key; did you mean 'steps'?"),
        ("cache.memory=3", "cache.memory: unknown key; did you mean 'memory_gb'?"),
        ("method.toy_low.rank=3", "method.toy_low: 'toy_low' is not chosen; add it: method=[toy_low]"),
        ("method.toy_lo.rank=3", "method.toy_lo: unknown method 'toy_lo'; did you mean 'toy_low'?"),
        ("predictor.x=3", "predictor.x: no predictor is chosen; give predictor=NAME"),
        ("method=[toy_low", "method=[toy_low: cannot be read"),
        ("seed=1,2", "seed=1,2: several values: add -m"),
        ("backbone=null", "a group takes a name"),
    ],
)
def test_what_cannot_be_composed(toys, override, message):
    with pytest.raises(ConfigError) as error:
        compose([override])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unknown_option_names_its_key(toys):
    with pytest.raises(ConfigError, match=r"method\.toy_low\.rnk: unknown key; did you mean 'rank'\? Allowed: alpha"):
        compose(["method=[toy_low]", "method.toy_low.rnk=4"])


def test_variants_are_among_the_allowed_names():
    variants = registry.variants("backbone")
    assert variants
    with pytest.raises(ConfigError) as error:
        compose(["backbone=nothing_like_it"])
    assert all(name in str(error.value) for name in [*variants, "convnet"])


def test_names_of_a_folder_on_the_search_path_are_allowed(elsewhere):
    (elsewhere / "mine/backbone").mkdir(parents=True)
    (elsewhere / "mine/backbone/broad.yaml").write_text("defaults: [mlp]\nwidth: 7\n")
    path = f"hydra.searchpath=[file://{elsewhere}/mine]"
    assert plain([path, "backbone=broad"])["backbone"]["width"] == 7
    with pytest.raises(ConfigError, match="did you mean 'broad'"):
        compose([path, "backbone=brod"])


def test_a_broken_plugin_hurts_only_the_run_that_chooses_it(plugin):
    plugin("broken.py", '@register("method", "toy_broken")\nclass X(:\n')
    check(compose())
    with pytest.raises(ConfigError, match="'toy_broken' cannot be used: syntax error in line 2"):
        compose(["method=[toy_broken]"])


def test_a_default_that_does_not_fit_its_annotation_is_told(plugin):
    plugin("odd.py", '@register("method", "toy_odd")\nclass X(Method):\n    def __init__(self, *, n: int = "x"): ...\n')
    with pytest.raises(ConfigError, match="'toy_odd': default of 'n' does not fit its annotation"):
        compose(["method=[toy_odd]"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=0"], "batch_size: 0: must be at least 1"),
        (["steps=0"], "steps: 0: must be at least 1"),
        (["clip=0"], "clip: 0.0: must be above 0"),
        (["accumulate=64"], "accumulate: 64: must be at most batch_size (32)"),
        (["devices=0"], "devices: 0: must be an integer of at least 1, or auto"),
        (["devices=many"], "devices: 'many': must be"),
        (["accelerator=cda"], "accelerator: 'cda': unknown; did you mean 'cuda'?"),
        (["precision=16"], "precision: '16': unknown"),
        (["bn=evl"], "bn: 'evl': unknown; did you mean 'eval'?"),
        (["optimizer.lr=-1"], "optimizer.lr: -1.0: must be a number above 0"),
        (["+extra=1"], "extra: unknown key"),
        (["+optimizer.extra=1"], "optimizer.extra: unknown key"),
        (["~seed"], "seed: was removed"),
        (["~head"], "head: null: must be one of"),
        (["backbone.name=timm"], "backbone.name: 'timm': must be chosen by backbone=timm"),
        (["dataset=toy_rows"], "dataset.path: required: give a value (str)"),
        (["method=[toy_low]", "method.toy_low.init=zero"], "method.toy_low.init: 'zero': unknown; did you mean"),
        (["+method.toy_low.rank=1"], "method.toy_low: has options but is not chosen; add 'toy_low' to the list"),
        (["+method.toy_lw.rank=1"], "method.toy_lw: unknown method 'toy_lw'; did you mean 'toy_low'?"),
        (["heads.a=liner"], "heads.a: unknown head 'liner'; did you mean 'linear'?"),
        (["heads.a={name: linear, x: 1}"], "heads.a.x: unknown key"),
        (["heads.a={name: mlp, width: many}"], "heads.a.width: 'many': "),
        (["heads.a=3"], "heads.a: 3: give the name of a head"),
        (["dataset=toy_cut", "dataset.base=toy_row"], "dataset.base: unknown dataset 'toy_row'; did you mean"),
        (["dataset=toy_cut"], "dataset.base_arguments.path: required"),
        (
            ["dataset=toy_cut", "dataset.base_arguments={path: x, rows: many}"],
            "dataset.base_arguments.rows: 'many': Value 'many' of type 'str' could not be converted to Integer",
        ),
        (
            ["dataset=toy_cut", "dataset.base_arguments={path: x, test: 0.1}"],
            "dataset.base_arguments.test: is an option of every dataset: give dataset.test instead",
        ),
        (["method=[toy_penalty,toy_rival]"], "method: 'toy_penalty' and 'toy_rival' conflict"),
        (["method=[toy_rival,toy_penalty]"], "method: 'toy_rival' and 'toy_penalty' conflict"),
        (["method=[probe,finetune]"], "method: 'finetune' trains everything and 'probe' says what trains"),
        (["method=[finetune,toy_low]"], "method: 'finetune' trains everything and 'toy_low' says what trains"),
    ],
)
def test_what_the_check_finds(toys, overrides, message):
    found = mistakes(overrides)
    assert found.startswith(message)
    assert "\n" not in found


def test_finetune_beside_a_method_without_an_opinion_is_allowed(toys):
    check(compose(["method=[finetune,toy_penalty]"]))


def test_all_mistakes_are_told_at_once():
    found = mistakes(["batch_size=0", "optimizer.lr=-1", "heads.a=liner", "bn=x"])
    assert [line.split(":")[0] for line in found.splitlines()] == ["batch_size", "bn", "heads.a", "optimizer.lr"]


def test_yaml_that_sets_options_of_a_method_it_did_not_choose_is_refused(elsewhere, toys):
    (elsewhere / "mine/preset").mkdir(parents=True)
    (elsewhere / "mine/preset/sneaky.yaml").write_text("# @package _global_\nmethod: {toy_low: {rank: 64}}\n")
    overrides = [f"hydra.searchpath=[file://{elsewhere}/mine]", "preset=sneaky"]
    assert "toy_low: has options but is not chosen" in mistakes([*overrides, "method=[toy_penalty]"])
    assert plain([*overrides, "method=[toy_low]"])["method"]["toy_low"]["rank"] == 64


def test_a_variant_of_a_method(elsewhere, toys):
    (elsewhere / "mine/method").mkdir(parents=True)
    (elsewhere / "mine/method/toy_big.yaml").write_text("defaults: [toy_low]\ntoy_low: {rank: 64}\n")
    path = f"hydra.searchpath=[file://{elsewhere}/mine]"
    config = compose([path, "method=[toy_big,toy_penalty]", "method.toy_low.alpha=2"])
    check(config)
    assert list(config.method) == ["toy_low", "toy_penalty"]
    assert (config.method.toy_low.rank, config.method.toy_low.alpha) == (64, 2.0)


def test_every_setting_is_documented_with_its_own_default():
    documents = {key: default for key, _, default, _ in documented()}
    config = OmegaConf.structured(Settings)
    parts = ("cache", "budget", "prices")
    keys = {str(key) for key in config if key not in (*registry.KINDS, *parts)}
    keys |= {f"{part}.{key}" for part in parts for key in config[part]}
    assert documents.keys() == keys
    for key, default in documents.items():
        assert repr(OmegaConf.select(config, key)).replace("'", '"') == default.replace("'", '"')


def test_composing_writes_nothing_here():
    compose(["seed=1"])
    assert os.listdir() == []
