"""Groups of runs compared: every number of the JSON recomputed by scipy from the runs' own values."""

import json

import numpy as np
import pytest
from scipy import stats

from tlresearch.config.errors import ConfigError
from tlresearch.results.comparison import compare
from tlresearch.results.report import rows

BETTER, WORSE = [0.90, 0.92, 0.91, 0.93], [0.80, 0.83, 0.80, 0.84]


@pytest.fixture
def two(write):
    for seed, (lora, probe) in enumerate(zip(BETTER, WORSE, strict=True)):
        write(lora, seed=seed, method=["lora"])
        write(probe, seed=seed, method=["probe"])


def recomputed(found):
    """Checks each group of a comparison against scipy, from the values and units in the JSON alone."""
    groups = {g["name"]: g for g in found["groups"]}
    for g in groups.values():
        values = g["values"]
        assert g["n"] == len(values) == len(g["identities"]) == len(g["units"])
        assert g["mean"] == pytest.approx(np.mean(values))
        if g["n"] > 1:
            assert g["deviation"] == pytest.approx(np.std(values, ddof=1))
            expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
            assert g["interval"] == pytest.approx(list(expected))
        against = g["against_best"]
        if against and against["n"] > 1:
            best = groups[against["best"]]
            ours, theirs = (dict(zip(one["units"], one["values"], strict=True)) for one in (g, best))
            common = [unit for unit in ours if unit in theirs]
            a, b = [ours[unit] for unit in common], [theirs[unit] for unit in common]
            assert against["n"] == len(common)
            assert against["p_t"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
            assert against["p_wilcoxon"] == pytest.approx(stats.wilcoxon(a, b).pvalue)
            differences = np.subtract(a, b)
            assert against["effect"] == pytest.approx(differences.mean() / differences.std(ddof=1))
            assert against["difference"] == pytest.approx(differences.mean())


def test_two_methods_recomputed_by_scipy(two, compared):
    found = compared(by=["method"])
    recomputed(found)
    lora, probe = found["groups"]
    assert (lora["name"], lora["best"], lora["against_best"]) == ("lora", True, None)
    assert probe["against_best"]["p_holm"] == probe["against_best"]["p_t"] < 0.05
    assert (probe["against_best"]["best"], probe["against_best"]["more_seeds"], probe["best"]) == ("lora", 0, False)
    assert (lora["tried"], lora["selection"], lora["oracle"]) == (1, "validation", False)
    assert lora["cost"]["seconds_train"] == lora["cost"]["seconds_training"] == 2.0


def test_best_is_only_what_beats_every_other(two, write, compared):
    """A third that is nearly as good: the corrected test does not tell them apart, and nothing is called best."""
    for seed, value in enumerate([0.91, 0.90, 0.92, 0.92]):
        write(value, seed=seed, method=["ewc"])
    found = compared(by=["method"])
    recomputed(found)
    p = {name: g["against_best"] for name, g in found["named"].items() if g["against_best"]}
    first, second = sorted(p, key=lambda name: p[name]["p_t"])
    assert p[first]["p_holm"] == pytest.approx(2 * p[first]["p_t"])
    assert p[second]["p_holm"] == pytest.approx(max(2 * p[first]["p_t"], p[second]["p_t"]))
    assert not any(g["best"] for g in found["groups"])
    assert p[second]["more_seeds"] >= 1


def test_lower_is_better_for_errors(write, compared):
    for seed in range(4):
        write(seed=seed, method=["lora"], metrics={"test": {"rmse": 1.0 + seed / 100}})
        write(seed=seed, method=["probe"], metrics={"test": {"rmse": 2.0 + seed / 90 + (seed == 2) / 50}})
    found = compared("test.rmse", by=["method"])
    recomputed(found)
    assert (found["better"], found["groups"][0]["name"], found["groups"][0]["best"]) == ("lower", "lora", True)
    assert found["groups"][1]["against_best"]["difference"] > 0


def test_seeds_samples_and_splits_are_paired(write, compared):
    """Splits differ far more than methods: unpaired, nothing could be seen."""
    for split in range(5):
        for seed in range(2):
            level = split / 10
            write(0.50 + level + seed / 100, seed=seed, split=split, method=["lora"])
            write(0.48 + level + seed / 100 + (split == seed) / 1000, seed=seed, split=split, method=["probe"])
    found = compared(by=["method"])
    recomputed(found)
    probe = found["named"]["probe"]
    assert probe["against_best"]["n"] == 10 and found["named"]["lora"]["best"]
    unpaired = stats.ttest_ind(*(g["values"] for g in found["groups"])).pvalue
    assert unpaired > 0.5 > 0.001 > probe["against_best"]["p_t"]


def test_settings_that_vary_in_the_groups_are_paired_too_and_said(write, compared):
    for dataset, level in (("digits", 0.9), ("support", 0.5)):
        for seed in range(3):
            write(level + seed / 100, seed=seed, method=["lora"], dataset=dataset)
            write(level - 0.1 + seed / 80, seed=seed, method=["probe"], dataset=dataset)
    found = compared(by=["method"])
    recomputed(found)
    assert found["named"]["probe"]["against_best"]["n"] == 6
    assert found["named"]["lora"]["averaged_over"] == "dataset.name (digits, support)"
    assert "lora averages over dataset.name (digits, support)" in found["notes"]


def test_what_only_one_group_has_is_averaged_over(write, compared):
    """A rank of LoRA is no setting of the probe: a seed's runs of both ranks are one half of a pair."""
    for seed in range(3):
        for rank, value in ((4, 0.8), (8, 0.9)):
            write(value + seed / 100, seed=seed, method={"lora": {"rank": rank}})
        write(0.7 + seed / 90, seed=seed, method=["probe"])
    found = compared(by=["method"])
    against = found["named"]["probe"]["against_best"]
    ours = [0.7 + seed / 90 for seed in range(3)]
    theirs = [0.85 + seed / 100 for seed in range(3)]
    assert (against["n"], found["named"]["lora"]["n"]) == (3, 6)
    assert against["p_t"] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found["named"]["lora"]["averaged_over"] == "method.lora.rank (4, 8)"


def test_unequal_seeds_are_paired_over_what_is_common(two, write, compared):
    for seed in (4, 5):
        write(0.9, seed=seed, method=["lora"])
    found = compared(by=["method"])
    recomputed(found)
    assert (found["named"]["lora"]["n"], found["named"]["probe"]["against_best"]["n"]) == (6, 4)
    assert "unequal seeds or settings, paired over what is common: probe (4) and lora (6) over 4" in found["notes"]


def test_no_seed_in_common_is_said_and_not_tested(write, compared):
    for seed in range(3):
        write(0.9 + seed / 100, seed=seed, method=["lora"])
        write(0.7 + seed / 100, seed=seed + 10, method=["probe"])
    found = compared(by=["method"])
    assert found["named"]["probe"]["against_best"]["n"] == 0
    assert not found["named"]["lora"]["best"]
    assert any("no seed and settings in common" in note for note in found["notes"])


def test_the_first_on_its_own_seeds_is_not_best_where_it_loses_on_the_common_ones(write, compared):
    for seed, (a, b) in enumerate([(0.50, 0.60), (0.51, 0.62), (0.52, 0.62), (0.53, 0.64)]):
        write(a, seed=seed, method=["lora"])
        write(b, seed=seed, method=["probe"])
    for seed in range(4, 10):
        write(0.95, seed=seed, method=["lora"])
    found = compared(by=["method"])
    assert found["groups"][0]["name"] == "lora" and not found["groups"][0]["best"]
    assert found["named"]["probe"]["against_best"]["p_holm"] < 0.05


def test_one_seed_has_neither_interval_nor_test(write, compared):
    write(0.9, method=["lora"])
    write(0.8, method=["probe"])
    found = compared(by=["method"])
    for g in found["groups"]:
        assert (g["n"], g["deviation"], g["interval"], g["bootstrap"], g["best"]) == (1, None, None, None, False)
    against = found["named"]["probe"]["against_best"]
    assert (against["n"], against["p_t"], against["p_holm"], against["more_seeds"]) == (1, None, None, None)
    assert "one run only, so no interval and no test: lora, probe" in found["notes"]


def test_only_runs_on_the_same_data_are_compared(write, compared):
    """Each number of labels and each data set has a best of its own; without --by as well."""
    for labels in (5, 50):
        for seed in range(4):
            write(0.5 + labels / 200 + seed / 100, seed=seed, labels=labels, method=["lora"])
            write(0.4 + labels / 200 + seed / 80, seed=seed, labels=labels, method=["probe"])
    for by in (["method", "dataset.labels_per_class"], []):
        found = compared(by=by)
        recomputed(found)
        best = [g for g in found["groups"] if g["best"]]
        assert [g["cells"]["method"] for g in best] == ["lora", "lora"]
        assert all(g["against_best"]["n"] == 4 for g in found["groups"] if not g["best"])


def test_labels_alone_are_compared_with_each_other(write, compared):
    for labels, level in ((5, 0.5), (50, 0.8)):
        for seed in range(4):
            write(level + seed / 100 + (seed == labels % 4) / 200, seed=seed, labels=labels)
    found = compared(by=["dataset.labels_per_class"])
    assert [(g["cells"]["dataset.labels_per_class"], g["best"]) for g in found["groups"]] == [(5, False), (50, True)]


def test_average_rank_over_data_sets(write, compared):
    levels = {"digits": (0.9, 0.8, 0.7), "support": (0.5, 0.6, 0.4), "rotated": (0.8, 0.7, 0.75)}
    for dataset, values in levels.items():
        for method, value in zip(("lora", "probe", "ewc"), values, strict=True):
            for seed in range(2):
                write(value + seed / 100, seed=seed, dataset=dataset, method=[method])
    expected = {"lora": (1 + 2 + 1) / 3, "probe": (2 + 1 + 3) / 3, "ewc": (3 + 3 + 2) / 3}
    for by in (["method"], ["method", "dataset"]):
        found = compared(by=by)
        assert found["ranks"]["ranks"] == pytest.approx(expected)
        assert {g["cells"]["method"]: g["rank"] for g in found["groups"]} == pytest.approx(expected)
        assert len(found["ranks"]["over"]) == 3
    assert compared()["groups"][0]["rank"] is not None


def test_ranks_leave_out_data_sets_that_not_all_have(write, compared):
    for dataset in ("digits", "support"):
        write(0.9, dataset=dataset, method=["lora"])
        write(0.8, dataset=dataset, method=["probe"])
    write(0.1, dataset="rotated", method=["lora"])
    found = compared(by=["method"])
    assert found["ranks"]["ranks"] == {"lora": 1.0, "probe": 2.0}
    assert any(note.startswith("average ranks leave out what not all have: rotated") for note in found["notes"])


def test_one_data_set_has_no_average_rank(two, compared):
    assert compared(by=["method"])["ranks"] is None


def test_configurations_chosen_on_validation_are_counted(write, compared):
    for lr, validation, test in ((0.1, 0.9, 0.5), (0.01, 0.8, 0.7), (0.001, 0.7, 0.6)):
        for seed in range(2):
            numbers = {"validation": {"accuracy": validation}, "test": {"accuracy": test + seed / 10}}
            write(seed=seed, lr=lr, metrics=numbers)
    for by in ([], ["method"]):
        (one,) = compared(by=by, select="validation.accuracy", over=["optimizer.lr"])["groups"]
        assert (one["tried"], one["n"], one["chosen"]) == (3, 2, {"optimizer.lr": 0.1})
        assert (one["mean"], one["oracle"]) == (pytest.approx(0.55), False)
    assert compared(by=["method"], select="test.accuracy", over=["optimizer.lr"])["groups"][0]["oracle"] is True
    (mixed,) = compared(by=["method"])["groups"]
    assert mixed["n"] == 6 and mixed["averaged_over"] == "optimizer.lr (0.1, 0.01, 0.001)"


def test_oracle_and_stale_runs_are_marked(write, compared):
    write(0.9, oracle=True)
    found = compared()
    assert found["groups"][0]["oracle"] is True
    assert found["groups"][0]["stale"] == 1, "these records name no sources"
    assert any("made by other code" in note for note in found["notes"])


def test_runs_without_the_metric_are_left_out_and_said(two, write, compared):
    folder = write(method=["lora"], seed=7, metrics={"test": {"loss": 1.0}})
    for seed, value in ((8, None), (9, float("nan")), (10, "high"), (11, True)):
        write(value, method=["lora"], seed=seed)
    found = compared(by=["method"])
    assert found["named"]["lora"]["n"] == 4
    (note,) = [note for note in found["notes"] if "left out" in note]
    assert note.startswith(f"5 run(s) without test.accuracy, left out: {folder.name}")


def test_a_run_of_two_stores_counts_once(two, tmp_path):
    found = compare(rows([tmp_path / "runs"] * 2), metric="test.accuracy", by=["method"])
    assert [g["n"] for g in found["groups"]] == [4, 4]


def test_what_is_not_done_is_listed(two, write, compared):
    write(status="failed", error="ValueError: no", method=["dann"])
    write(status="interrupted", method=["dann"])
    found = compared(by=["method"])
    assert [(r["status"], r["error"]) for r in found["not_done"]] == [
        ("failed", "ValueError: no"),
        ("interrupted", None),
    ]
    assert set(found["named"]) == {"lora", "probe"}


def test_settings_in_which_compared_groups_differ_are_said(write, compared):
    for seed in range(2):
        write(0.9 + seed / 100, seed=seed, method=["lora"], lr=0.1)
        write(0.8 + seed / 100, seed=seed, method=["probe"], lr=0.01)
    found = compared(by=["method"])
    assert found["named"]["probe"]["against_best"]["n"] == 2
    assert "compared groups differ also in optimizer.lr" in found["notes"]


def test_seeds_side_by_side(two, compared):
    found = compared(by=["method"], pivot="seed")
    assert len(found["groups"]) == 8 and not any(g["best"] for g in found["groups"])
    assert all(g["against_best"]["n"] == 1 for g in found["groups"] if g["cells"]["method"] == "probe")


def test_keys_that_nobody_has(two, compared):
    with pytest.raises(
        ConfigError, match=r"--by: 'dataset.labels_per_clas': no run has it; did you mean 'dataset.labels_per_class'"
    ):
        compared(by=["dataset.labels_per_clas"])
    with pytest.raises(ConfigError, match=r"--pivot: 'metod'"):
        compared(by=["method"], pivot="metod")
    with pytest.raises(ConfigError, match=r"metric: 'test.acuracy': no run has it; did you mean 'test.accuracy'"):
        compared("test.acuracy")


def test_the_json_is_plain(two, compared):
    found = compared(by=["method"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
