"""Negative transfer: what is worse than the same trained from scratch or on the source alone."""

from scipy import stats


def test_negative_transfer_against_scratch(write, compared):
    """Same data, labels and budget: what has other steps or other labels is no reference."""
    for seed in range(3):
        write(0.70 + seed / 100, seed=seed, weights="none")
        write(0.60 + seed / 90, seed=seed)
        write(0.80 + seed / 90, seed=seed, method=["probe"])
        write(0.10, seed=seed, method=["lora"], steps=99)
        write(0.10, seed=seed, method=["ewc"], labels=5)
    found = compared(by=["method"])["named"]
    assert found["finetune"]["negative_transfer"].startswith("worse than scratch (0.6111 against 0.7100; n = 3; p = ")
    flagged = {name for name, g in found.items() if g["negative_transfer"]}
    assert flagged == {"finetune"}
    p = stats.ttest_rel([0.60 + s / 90 for s in range(3)], [0.70 + s / 100 for s in range(3)]).pvalue
    assert f"p = {p:.2g}" in found["finetune"]["negative_transfer"]


def test_negative_transfer_of_an_error_and_of_one_pair(write, compared):
    write(weights="none", metrics={"test": {"rmse": 1.0}})
    write(metrics={"test": {"rmse": 1.5}})
    found = compared("test.rmse", by=["method"])["named"]["finetune"]
    assert found["negative_transfer"] == "worse than scratch (1.5000 against 1.0000; n = 1; one pair, no test)"


def test_negative_transfer_against_source_only(write, compared):
    domains = {"source": [0], "target": [45]}
    for seed in range(3):
        write(0.70 + seed / 100, seed=seed, weights="none", options=domains)
        write(0.60 + seed / 100 + (seed == 1) / 50, seed=seed, weights="none", method=["dann"], options=domains)
    found = compared(by=["method"])["named"]
    assert found["dann"]["negative_transfer"].startswith("worse than source-only (0.6167 against 0.7100; n = 3")
    assert found["finetune"]["negative_transfer"] is None


def test_a_run_that_starts_from_another_is_not_scratch(write, compared):
    write(0.9, weights="none", init_from="runs/a")
    write(0.8, weights="none")
    write(0.7)
    assert {g["name"] for g in compared(by=["method"])["groups"]} == {"finetune", "scratch"}
