"""Hyper-parameters chosen on validation, from records that are written here."""

import csv
import io
import json
import re

import pytest

from tlresearch.commands.main import main
from tlresearch.config.errors import ConfigError
from tlresearch.results.choosing import choose, direction
from tlresearch.results.report import interval, rows


@pytest.fixture
def add(write):
    """add(validation, test, lr=…, seed=…): a finished run in the store; returns its folder."""

    def call(validation, test, *, loss=1.0, method=(), **settings):
        metrics = {"validation": {"accuracy": validation, "loss": loss}, "test": {"accuracy": test}}
        return write(metrics=metrics, method=dict(method), weights="none", cost={}, **settings)

    return call


@pytest.fixture
def chosen(tmp_path):
    """chosen(over="optimizer.lr") → the choices of the store."""

    def call(*, select="validation.accuracy", over="optimizer.lr", metric="test.accuracy"):
        return choose(rows([tmp_path / "runs"]), select=select, over=over.split(","), metric=metric)

    return call


@pytest.fixture
def report(tmp_path, capsys):
    """report("--select", …) → exit code, stdout, stderr."""

    def call(*arguments):
        code = main(["report", str(tmp_path / "runs"), *arguments])
        return code, *capsys.readouterr()

    return call


SELECT = ("--select", "validation.accuracy", "--over", "optimizer.lr")


def lora(rank):
    return {"lora": {"rank": rank, "alpha": 16}}


def test_validation_chooses_and_test_is_shown(add, chosen):
    for seed, (low, high) in enumerate([(0.5, 0.9), (0.6, 0.4), (0.7, 0.8)]):
        add(low, 0.99, lr=0.1, seed=seed)  # best on test, and for one seed on validation: not chosen
        add(high, 0.5 + seed / 10, lr=0.01, seed=seed)
    (choice,) = chosen()
    assert choice.values == {"optimizer.lr": 0.01}
    assert choice.score == pytest.approx(0.7)
    assert (choice.group.n, choice.group.mean) == (3, pytest.approx(0.6))
    assert choice.group.half == pytest.approx(interval([0.5, 0.6, 0.7]))
    assert (len(choice.tried), choice.runs, choice.oracle, choice.warnings) == (2, 6, False, [])


def test_each_group_chooses_for_itself(add, chosen):
    """A key that a group does not have is no axis there, and runs that differ in anything else never meet."""
    for rank, value in ((4, 0.5), (8, 0.8)):
        add(value, 0.1, lr=0.1, method=lora(rank))
        add(0.6, 0.1, lr=0.01, method=lora(rank))
    add(0.3, 0.2, lr=0.1, method={"probe": {}})
    add(0.4, 0.2, lr=0.01, method={"probe": {}})
    found = {tuple(c.group.first["method"]): c for c in chosen(over="optimizer.lr,method.lora.rank")}
    assert found["lora",].values == {"optimizer.lr": 0.1, "method.lora.rank": 8}
    assert found["probe",].values == {"optimizer.lr": 0.01}
    assert {name: (len(c.tried), c.runs) for name, c in found.items()} == {("lora",): (4, 4), ("probe",): (2, 2)}


@pytest.mark.parametrize(
    "other", [{"steps": 5}, {"data": "e"}, {"method": {"ewc": {"strength": 2}}}, {"head": {"name": "mlp"}}]
)
def test_groups_of_the_same_text_are_told_apart(other, add, chosen, report):
    method = {"ewc": {"strength": 1}}
    for lr in (0.1, 0.01):
        add(lr, 0.5, lr=lr, method=method)
        add(1 - lr, 0.7, **{"lr": lr, "method": method, **other})
    assert sorted(c.values["optimizer.lr"] for c in chosen()) == [0.01, 0.1]
    _, out, _ = report(*SELECT)
    header, *body = (re.split(r"\s{2,}", line) for line in out.splitlines()[1:4])
    told = header[: header.index("optimizer.lr")]
    assert told and len({tuple(line[: len(told)]) for line in body}) == 2, out


def test_what_does_not_change_numbers_does_not_split_a_group(add, chosen):
    for seed, lr in ((0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2)):
        add(lr, 0.5, lr=lr, seed=seed, progress=bool(seed), budget={"seconds": seed})
    (choice,) = chosen()
    assert choice.group.n == 2


def test_losses_and_errors_are_minimised(add, chosen):
    add(0.9, 0.5, lr=0.1, loss=2.0)
    add(0.1, 0.4, lr=0.2, loss=0.5)
    (choice,) = chosen(select="validation.loss")
    assert choice.values == {"optimizer.lr": 0.2}
    named = ["loss", "rmse", "mae", "calibration_error"]
    assert {direction(f"validation.{name}") for name in named} == {"minimised"}
    assert {direction(f"validation.{name}") for name in ("accuracy", "macro_f1", "r2", "spearman")} == {"maximised"}


def test_only_common_seeds_are_compared_and_that_is_said(add, chosen, report):
    for seed, value in enumerate([0.1, 0.2, 0.9]):
        add(value, value, lr=0.1, seed=seed)
    for seed in (0, 1):
        add(0.3, 0.4, lr=0.2, seed=seed)
    (choice,) = chosen()
    assert choice.values == {"optimizer.lr": 0.2}, "the third seed of the other would have won"
    assert (choice.group.n, choice.runs, choice.seeds) == (2, 5, ["0", "1"])
    said = "unequal seeds (optimizer.lr=0.1: 0, 1, 2; optimizer.lr=0.2: 0, 1); compared on 0, 1"
    assert choice.warnings == [said]
    assert report(*SELECT, "--format", "json")[2] == f"warning: {said}\n"
    assert said in report(*SELECT)[1].splitlines()


def test_configurations_without_a_common_seed_are_refused(add, report):
    add(0.1, 0.1, lr=0.1, seed=0)
    add(0.1, 0.1, lr=0.2, seed=1)
    code, out, err = report(*SELECT)
    assert (code, out) == (2, "")
    assert "no seed in common (optimizer.lr=0.1: 0; optimizer.lr=0.2: 1); run the missing ones" in err


def test_a_run_of_two_stores_counts_once(add, tmp_path):
    for lr in (0.1, 0.2):
        add(lr, 0.5, lr=lr)
    (choice,) = choose(
        rows([tmp_path / "runs"] * 2), select="validation.accuracy", over=["optimizer.lr"], metric="test.accuracy"
    )
    assert (choice.group.n, choice.runs) == (1, 2)


def test_one_configuration_and_seed_on_other_data_is_refused(add, chosen):
    """Where each seed draws another sample, the fingerprint cannot tell which data a run of another seed has."""
    few = 5
    for lr, seed in ((0.1, 0), (0.2, 0), (0.1, 1), (0.2, 1)):
        add(lr, 0.5, lr=lr, seed=seed, data=f"d{seed}", labels=few)
    assert chosen()[0].group.n == 2
    add(0.3, 0.5, lr=0.2, seed=1, data="e1", labels=few)
    with pytest.raises(ConfigError, match="have one configuration and seed but other data or weights"):
        chosen()


def test_equals_are_counted_and_the_smallest_value_is_taken(add, chosen):
    for lr in (0.2, 0.1, 10, 9, 0.05):
        add(0.5 + (lr > 5) / 10, 0.5, lr=lr)
    (choice,) = chosen()
    assert (choice.values, choice.ties) == ({"optimizer.lr": 9}, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--select", "validation.acc", "--over", "optimizer.lr"), "select: 'validation.acc': no run has it; did you"),
        (("--select", "validation.accuracy", "--over", "optimizer.rate"), "over: 'optimizer.rate': no run has it; did"),
        (("--select", "validation.accuracy", "--over", "head.name"), "settings that vary: optimizer.lr"),
        (("--select", "validation.accuracy", "--over", "optimizer.lr,seed"), "means are taken over seeds"),
        (("--select", "validation.accuracy"), "--select and --over go together"),
        (("--over", "optimizer.lr"), "--select and --over go together"),
        ((*SELECT, "--metric", "test.rmse"), "metric: 'test.rmse': no run has it"),
    ],
)
def test_what_is_not_there_is_one_message(add, report, arguments, message):
    for lr, seed in ((0.1, 0), (0.2, 0), (0.1, 1), (0.2, 1)):
        add(0.5, 0.5, lr=lr, seed=seed)
    code, out, err = report(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_key_that_varies_only_with_another_is_refused(add, report):
    add(0.5, 0.5, lr=0.1, steps=5)
    add(0.5, 0.5, lr=0.2, steps=9)
    code, _, err = report(*SELECT)
    assert code == 2
    assert "does not vary among runs that are otherwise equal; settings that vary: optimizer.lr, steps" in err


def test_an_empty_store_and_runs_that_are_not_done(add, report, tmp_path):
    (tmp_path / "runs").mkdir()
    assert "nothing to choose from" in report(*SELECT)[2]
    add(0.5, 0.5, lr=0.3, status="failed")
    assert "nothing to choose from" in report(*SELECT)[2]
    add(0.5, 0.5, lr=0.1)
    add(0.6, 0.5, lr=None)
    code, out, err = report(*SELECT, "--format", "json")
    assert code == 0 and err.startswith("warning: 1 run(s) not done, left out")
    code, out, err = report(*SELECT)
    _, header, row, mark, *rest = out.splitlines()
    assert (code, err) == (0, "") and rest[-1].startswith("failed: ")
    assert header.split()[:5] == ["method", "optimizer.lr", "validation.accuracy", "test.accuracy", "n"]
    assert row.split() == ["finetune", "-", "0.6000", "0.5000*", "1", "validation,", "2", "tried"]
    assert mark.startswith("* made by other code"), "these records name no sources"


@pytest.mark.parametrize(("select", "rule"), [("validation.accuracy", True), ("test.accuracy", False)])
def test_an_oracle_is_marked_wherever_it_is_shown(add, report, select, rule):
    """Chosen on test, or by checkpoints that were."""
    for lr in (0.1, 0.2):
        add(lr, lr, lr=lr, oracle=rule)
    code, out, _ = report("--select", select, "--over", "optimizer.lr")
    assert code == 0 and out.splitlines()[2].endswith("validation, oracle, 2 tried")
    assert ("an oracle: it is no number" in out) == (select == "test.accuracy")
    (found,) = json.loads(report("--select", select, "--over", "optimizer.lr", "--format", "json")[1])
    assert found["oracle"] is True


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "table"])
def test_every_format_says_what_was_chosen_and_by_what(add, report, form):
    """The same as with --by: one comparison, whatever is asked for."""
    for lr, seed in ((0.1, 0), (0.2, 0), (0.1, 1), (0.2, 1)):
        add(0.5, 0.5 + lr + seed / 10, lr=lr, seed=seed, method={"probe": {}})
        add(lr, 0.6 + lr + seed / 9, lr=lr, seed=seed)
    code, out, err = report(*SELECT, "--format", form)
    assert (code, err) == (0, "")
    if form == "csv":
        probe, finetune = sorted(csv.DictReader(io.StringIO(out)), key=lambda line: line["mean"])
        assert (probe["optimizer.lr"], finetune["optimizer.lr"]) == ("0.1", "0.2")
        assert (probe["tried"], probe["selection"], float(probe["mean"])) == ("2", "validation", pytest.approx(0.65))
        return
    assert "0.5000 (1 more as good)" in out and "2 tried" in out
    assert "optimizer.lr chosen by validation.accuracy (maximised), the mean over seeds" in re.sub(r"\\", "", out)


def test_json_has_what_was_selected_tried_and_over(add, report):
    for lr, seed in ((0.1, 0), (0.2, 0), (0.1, 1), (0.2, 1)):
        add(lr, 0.5 + seed / 5, lr=lr, seed=seed)
    code, out, err = report(*SELECT, "--format", "json")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)
    assert found["selected"] == {"optimizer.lr": 0.2}
    assert (found["tried"], found["runs"], found["over"]) == (2, 4, ["optimizer.lr"])
    assert (found["oracle"], found["direction"], found["n"], found["seeds"]) == (False, "maximised", 2, ["0", "1"])
    assert found["mean"] == pytest.approx(0.6) and found["half"] == pytest.approx(interval([0.5, 0.7]))
    assert [c["values"]["optimizer.lr"] for c in found["configurations"]] == [0.2, 0.1]
    assert [c["score"] for c in found["configurations"]] == pytest.approx([0.2, 0.1])


def test_a_picture_of_what_was_chosen(add, report, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    for labels, best in ((5, 0.1), (20, 0.2)):
        for lr in (0.1, 0.2):
            add(0.9 if lr == best else 0.1, labels / 100, lr=lr, labels=labels)
    drawn = []
    monkeypatch.setattr(Axes, "errorbar", lambda self, x, y, half, **style: drawn.append((style.get("label"), y)))
    code, out, _ = report(*SELECT, "--picture", str(tmp_path / "chosen"))
    assert code == 0 and out.splitlines()[-1].endswith("chosen.svg")
    assert drawn == [("finetune", (0.05, 0.2))], "one line, whatever rate was chosen"
