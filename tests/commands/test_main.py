"""The command line as a user meets it: what it prints, its exit codes, and that it stays free of torch."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import tlresearch


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["list", "--json"],
        ["show", "method", "lora"],
        ["show", "settings"],
        ["train", "--cfg", "job"],
        ["train", "method=[lora,ewc]", "--cfg", "job", "method.lora.rank=4"],
        ["train", "--help"],
        ["completion", "bash", "--line", "tlresearch train method=[l"],
        ["train", "method=[lora]", "method.lora.rnk=4"],
    ],
)
def test_no_torch(arguments):
    code = (
        "import sys; from tlresearch.commands.main import main\n"
        f"main({arguments!r})\n"
        "heavy = {'torch', 'numpy', 'timm', 'transformers', 'lightning_fabric'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_list_and_show_need_no_hydra():
    code = (
        "import sys; from tlresearch.commands.main import main\n"
        "main(['list']); main(['show', 'method', 'lora']); assert 'hydra' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_python_m():
    done = subprocess.run([sys.executable, "-m", "tlresearch", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"tlresearch {tlresearch.__version__}\n")


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["nothing"], 2)])
def test_a_process_that_ends_at_once_has_done_everything(arguments, code):
    lines = [
        "import atexit, sys, threading, time",
        "from concurrent.futures import ThreadPoolExecutor",
        "from tlresearch.commands.main import run",
        "atexit.register(print, 'at exit')",
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()",
        "ThreadPoolExecutor(1).submit(print, 'pool')",
        f"sys.argv = ['tlresearch', *{arguments}]",
        "run()",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == code
    assert all(word in done.stdout for word in ("at exit", "thread", "pool")), "threads' lines may run into one another"
    assert "tlresearch" in done.stdout if code == 0 else "unknown command 'nothing'" in done.stderr


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in ("train", "list", "show", "report", "completion"))


def test_no_command_is_a_mistake(run):
    code, out, _ = run()
    assert code == 2
    assert out.startswith("usage: tlresearch COMMAND")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "error: unknown command 'lst'; did you mean 'list'?"),
        (["list", "metod"], "error: KIND: 'metod': unknown; did you mean 'method'?"),
        (["show", "method", "toy_lo"], "error: unknown method 'toy_lo'; did you mean 'toy_low'?"),
        (["show", "method"], "error: which method? Give one of: "),
        (["list", "--jsn"], "usage: tlresearch list"),
        (["completion", "tcsh"], "usage: tlresearch completion"),
    ],
)
def test_mistakes(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert "Traceback" not in err


def test_list_has_a_line_for_each_plugin_broken_ones_too(run, folder):
    (folder / "plugins/bad.py").write_text('@register("method", "toy_bad")\nclass X(:\n')
    (folder / "plugins/named.py").write_text('@register("method", NAME)\nclass Named: ...\n')
    code, out, _ = run("list", "method")
    assert "error: register('method', NAME): must be two string literals" in out, "of any kind, for all one can read"
    lines = {line.split()[1]: line.split(maxsplit=3) for line in out.splitlines()}
    assert code == 0
    assert lines["toy_low"] == ["method", "toy_low", "plugins/", "Low rank."]
    assert lines["toy_bad"][3] == "error: syntax error in line 2: invalid syntax"
    assert "digits" not in lines


def test_list_json_has_variants_and_places(run, folder):
    rows = {(row["kind"], row["name"]): row for row in json.loads(run("list", "--json")[1])}
    assert rows["method", "toy_low"] == {
        "kind": "method",
        "name": "toy_low",
        "origin": "plugins/",
        "summary": "Low rank.",
        "file": str(folder / "plugins/toy.py"),
        "line": 5,
        "error": "",
    }
    assert rows["backbone", "minilm"]["origin"] == "variant"
    assert rows["dataset", "digits"]["origin"] == "built-in"


def test_show_tells_all_of_a_plugin(run, folder):
    code, out, _ = run("show", "method", "toy_low")
    assert code == 0
    assert f"{folder}/plugins/toy.py:5" in out
    assert "chosen by method=[toy_low]" in out
    assert "rank: of the update, at least 1." in out
    assert "conflicts with: dann" in out
    assert ["method.toy_low.alpha", "float", "|", "None", "null"] in [line.split() for line in out.splitlines()]


def test_show_tells_common_options_choices_and_what_is_required(run):
    out = run("show", "dataset", "split")[1]
    lines = [line.split() for line in out.splitlines()]
    assert ["dataset.scenario", "str", "required"] in lines
    assert ["dataset.accumulate_stages", "none", "|", "cumulative", "|", "joint", "none"] in lines
    assert ["dataset.validation", "float", "0.2"] in lines
    assert "split_seed: draws those splits" in out


def test_show_variant_and_settings(run):
    assert "defaults: [transformers]" in run("show", "backbone", "minilm")[1]
    assert ["batch_size", "int", "32"] in [line.split()[:3] for line in run("show", "settings")[1].splitlines()]


def test_train_prints_folder_and_headline_last_and_leaves_nothing(run, executed, folder):
    code, out, err = run("train", "seed=2", "method=[toy_low]")
    assert (code, out, err) == (0, "runs/0123  test.accuracy=0.5000\n", "")
    ((config, overrides),) = executed
    assert (config["seed"], overrides) == (2, ["seed=2", "method=[toy_low]"])
    assert "hydra" not in config
    assert [path.name for path in folder.iterdir()] == ["plugins"]


def test_overrides_may_stand_on_either_side_of_a_flag(run):
    code, out, _ = run("train", "seed=7", "--cfg", "job", "steps=3")
    assert code == 0
    assert {"seed: 7", "steps: 3"} <= set(out.splitlines())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stps=3", "error: stps: unknown key; did you mean 'steps'?"),
        ("batch_size=0", "error: batch_size: 0: must be at least 1\n"),
        ("method=[toy_lo]", "error: unknown method 'toy_lo'; did you mean 'toy_low'?"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(run, executed, folder, override, message):
    code, out, err = run("train", override)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert executed == []
    assert [path.name for path in folder.iterdir()] == ["plugins"]


def test_debug_shows_the_traceback_of_a_mistake(run, executed):
    code, _, err = run("train", "batch_size=0", "debug=true")
    assert code == 2
    assert "Traceback" in err
    assert "error: batch_size: 0: must be at least 1" in err


def test_a_run_that_fails_is_a_traceback_and_exit_code_1(run, executed):
    code, _, err = run("train", "seed=13")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: the loss is gone" in err


def test_a_run_that_failed_before_is_a_message_and_exit_code_1(run, executed):
    assert run("train", "seed=15") == (1, "", "error: runs/15 failed before\n")


def test_an_interruption_is_exit_code_130(run, executed):
    code, _, err = run("train", "seed=14")
    assert (code, err) == (130, "interrupted\n")


def test_a_sweep_runs_each_value_and_leaves_nothing(run, executed, folder):
    code, out, _ = run("train", "-m", "seed=1,2", "method=[],[toy_low]")
    assert code == 0
    assert [(config["seed"], list(config["method"])) for config, _ in executed] == [
        (1, []),
        (1, ["toy_low"]),
        (2, []),
        (2, ["toy_low"]),
    ]
    assert out.splitlines()[-2:] == ["[4/4] seed=2 method=[toy_low]", "runs/0123  test.accuracy=0.5000"]
    assert [path.name for path in folder.iterdir()] == ["plugins"]


def test_presets_are_an_axis(run, executed):
    assert run("train", "-m", "preset=scratch,probe,finetune,lora")[0] == 0
    assert [list(config["method"]) for config, _ in executed] == [[], ["probe"], ["finetune"], ["lora"]]


@pytest.mark.parametrize("seeds", ["13,1", "1,13,2"])
def test_a_failing_run_of_a_sweep_does_not_stop_the_others(run, executed, seeds):
    code, _, err = run("train", "-m", f"seed={seeds}")
    assert code == 1
    assert len(executed) == len(seeds.split(","))
    assert err.count("ZeroDivisionError: the loss is gone") == 1


def test_a_mistake_in_one_run_of_a_sweep_is_exit_code_2_unless_a_run_failed(run, executed):
    code, _, err = run("train", "-m", "batch_size=0,8")
    assert (code, len(executed)) == (2, 1)
    assert "error: batch_size: 0: must be at least 1\n" in err
    code, _, err = run("train", "-m", "seed=1,13", "batch_size=0,8")
    assert code == 1
    assert err.endswith(
        "4 runs: 1 done, 1 failed (4: seed=13 batch_size=8), "
        "2 refused (1: seed=1 batch_size=0, 3: seed=13 batch_size=0)\n"
    )


def test_a_mistake_in_a_sweep_that_cannot_be_composed_stops_it_before_the_first_run(run, executed):
    code, _, err = run("train", "-m", "method=[],[toy_lo]")
    assert (code, executed) == (2, [])
    assert err.startswith("error: unknown method 'toy_lo'")


def test_the_folder_of_a_sweep_is_temporary_unless_given(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "temporary").mkdir()
    arguments = ["train", "-m", "batch_size=0", "accumulate=1"]  # refused by the check, after Hydra made its folder
    subprocess.run([sys.executable, "-m", "tlresearch", *arguments], capture_output=True)
    assert list((tmp_path / "temporary").iterdir()) == []
    subprocess.run([sys.executable, "-m", "tlresearch", *arguments, "hydra.sweep.dir=mine"], capture_output=True)
    assert (folder / "mine/multirun.yaml").is_file()


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m tlresearch list --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_a_clusters_launcher_keeps_its_files_in_the_store(folder):
    from tlresearch.config.source import sweep_folder

    place = Path(sweep_folder("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "runs"))
    assert place.parent == folder / "runs/.sweeps"


def test_tables_are_drawn_where_somebody_looks(capsys, monkeypatch):
    from tlresearch.commands.table import print_table

    rows = [["alpha", "[bold]not markup[/bold]"], ["beta", "error: broken"]]
    print_table(["name", "text"], rows, "title:")
    assert capsys.readouterr().out.splitlines() == [
        "title:",
        "name   text",
        "alpha  [bold]not markup[/bold]",
        "beta   error: broken",
    ]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(["name", "text"], rows)
    drawn = capsys.readouterr().out
    assert "─" in drawn
    assert "[bold]not markup[/bold]" in drawn
