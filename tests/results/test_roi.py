"""`tlresearch report --roi` on stores whose every number is known, through the command."""

import json

import pytest


@pytest.fixture
def trained(write):
    """trained(0.6, labels=10, …) → a run's folder: so many labels a class of ten classes, an hour on a CPU."""

    def call(value, *, labels, seconds=3600.0, seconds_per_prediction=0.01, **settings):
        cost = {"seconds_total": seconds, "parameters_total": 1000, "seconds_per_prediction": seconds_per_prediction}
        folder = write(value, labels=labels, cost=cost, **settings)
        record = json.loads((folder / "run.json").read_text())
        record["data"]["stages"] = [{"train": 10 * (labels or 100)}]
        record["stages"] = [{"steps": 40}, {"steps": 30}]
        record["hardware"] = {"device": {"type": "cpu", "count": 1}}
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return call


@pytest.fixture
def both(trained):
    """Scratch reaches 0.5 with 100 labels and 0.7 with 400, a probe 0.6 with 100: on log labels, 200 of scratch's."""
    for seed in range(2):
        trained(0.5, labels=10, weights="none", seed=seed)
        trained(0.7, labels=40, weights="none", seed=seed)
        trained(0.6, labels=10, method=["probe"], seed=seed, seconds=1800.0)


def analysed(report, *arguments):
    code, out, err = report("--roi", "--format", "json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_the_factor_and_what_it_saves(both, report):
    found = analysed(report, "--price", "usd_per_label=2", "--price", "usd_per_cpu_hour=3")
    (setting,) = found["settings"]
    (entry,) = setting["efficiency"]
    assert entry["arm"] == "probe"
    assert entry["needed"] == pytest.approx(200) and entry["factor"] == pytest.approx(2)
    assert entry["saved"]["labels"] == pytest.approx(100)
    points = {(p["arm"], p["labels"]): p for p in setting["points"]}
    assert points["probe", 100]["usd"] == pytest.approx(100 * 2 + 0.5 * 3)
    assert points["scratch", 400]["usd"] == pytest.approx(400 * 2 + 3)
    marginal = {(m["from"], m["to"]): m["usd_per_point"] for m in setting["marginal"]}
    assert marginal["probe", "scratch"] == pytest.approx((803 - 201.5) / 10)  # 10 points from 0.6 to 0.7
    assert points["scratch", 100]["front"] is False and len(setting["sentences"]) == 3


def test_engineering_counts_by_the_day(both, report):
    prices = ["--price", "usd_per_engineer_day=800", "--engineer-days", "probe=5"]
    (setting,) = analysed(report, *prices)["settings"]
    points = {(p["arm"], p["labels"]): p for p in setting["points"]}
    assert points["probe", 100]["usd"] == pytest.approx(4000)
    assert any("scratch" in note and "--engineer-days" in note for note in setting["notes"])


def test_what_does_not_fit_is_named_and_not_recommended(both, trained, report):
    for seed in range(2):
        trained(0.9, labels=40, method=["lora"], seed=seed, seconds_per_prediction=2.0)
    (free,) = analysed(report)["settings"]
    (limited,) = analysed(report, "--max-seconds-per-prediction", "1")["settings"]
    assert free["recommended"]["arm"] == "lora"
    assert limited["recommended"]["arm"] != "lora" and any("lora" in text for text in limited["unfit"])
    (none,) = analysed(report, "--max-bytes", "1")["settings"]
    assert none["recommended"] is None and any("nothing fits" in note for note in none["notes"])


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_store_without_scratch_of_one_seed_has_no_factor_and_no_interval(trained, report, form):
    trained(0.6, labels=10, method=["probe"])
    code, out, err = report("--roi", "--format", form)
    assert code == 0, err
    for said in ("no arm from scratch", "one seed only", "for want of a price"):
        assert said in out


def test_one_number_of_labels_gives_a_bound(trained, report):
    for seed in range(2):
        trained(0.5, labels=40, weights="none", seed=seed)
        trained(0.6, labels=10, method=["probe"], seed=seed)
    (setting,) = analysed(report)["settings"]
    assert setting["efficiency"][0]["side"] == "above"
    assert any("no more than a bound" in note for note in setting["notes"])


def test_lower_is_better_for_an_error(trained, report):
    for seed in range(2):
        for labels, value in ((10, 5.0), (40, 3.0)):
            trained(0, labels=labels, weights="none", seed=seed, metrics={"test": {"rmse": value}})
        trained(0, labels=10, method=["probe"], seed=seed, metrics={"test": {"rmse": 4.0}})
    found = analysed(report, "--metric", "test.rmse")
    assert found["better"] == "lower"
    assert found["settings"][0]["efficiency"][0]["factor"] == pytest.approx(2)


def test_the_document_says_what_it_was_made_by_and_how_long_arms_were_trained(both, report):
    trained = "tlresearch train -m -cn data_efficiency data_dir=DIR"
    code, out, _ = report("--roi", "--format", "markdown", "--made-by", trained)
    assert code == 0
    first, second = out.split("```")[1].split("\n")[1:3]
    assert first == trained and second.startswith("tlresearch report ") and "--made-by" not in second
    header, _, *rows = (line.split(" | ") for line in out.splitlines() if line.startswith("| "))
    assert {row[header.index("steps")] for row in rows[:3]} == {"70"}


def test_the_document_tells_the_range_of_the_reviews_as_it_is(both, report):
    """The prices of tests/results/test_returns.py, in words."""
    _, out, _ = report("--roi", "--format", "markdown")
    said = " ".join(out.split())
    assert f"save {50_000 - 5_000:,}, which is ${45_000 * 0.5:,.0f} at $0.50" in said
    assert f"${45_000 * 5:,.0f} at $5.00" in said
    assert f"to ${50_000 * 5 - 5_000 * 0.5:,.0f} that is told of this example is not exact" in said


def test_a_picture_is_drawn(both, report, tmp_path):
    code, _, err = report("--roi", "--picture", str(tmp_path / "saved"))
    assert code == 0, err
    assert (tmp_path / "saved.png").stat().st_size > 1000 and (tmp_path / "saved.svg").read_text().startswith("<?xml")


def test_records_that_say_nothing_of_their_rows_are_left_out_and_told(both, write, report):
    write(0.99, method=["lora"], labels=10)
    found = analysed(report)
    assert "lora" not in {p["arm"] for p in found["settings"][0]["points"]}
    assert any("1 run(s)" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--price", "usd_per_lable=1"], "usd_per_label"),
        (["--price", "usd_per_label=-1"], "a number of at least 0"),
        (["--engineer-days", "prob=1"], "no arm is called prob"),
        (["--max-bytes", "0"], "a number above 0"),
        (["--metric", "test.acuracy"], "test.acuracy"),
        (["--format", "csv"], "table, json or markdown"),
    ],
)
def test_mistakes_are_one_message(both, report, arguments, message):
    code, _, err = report("--roi", *arguments)
    assert code == 2 and message in err
