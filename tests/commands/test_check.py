"""`tlresearch check`: the contract kit on one plugin of the user's, who has no checkout."""

import subprocess
import sys

import pytest

PLUGIN = '''
from tlresearch import Clock, register

@register("schedule", "toy_{name}")
def schedule(clock: Clock, *, scale: float = 1.0) -> float:
    """A line."""
    return scale * {factor}
'''


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy_lo"], "error: unknown plugin 'toy_lo'; did you mean 'toy_low'?"),
        (["nowhere.py"], "error: 'nowhere.py': no such file"),
        (["empty.py"], "error: 'empty.py' registers no plugin; write @register"),
        (["named.py"], "error: register('method', NAME): must be two string literals"),
        (["toy_low", "rank"], "error: 'rank': must be KEY=VALUE"),
    ],
)
def test_mistakes(run, folder, arguments, message):
    (folder / "empty.py").write_text("x = 1\n")
    (folder / "named.py").write_text('NAME = "x"\n\n@register("method", NAME)\nclass X: ...\n')
    code, out, err = run("check", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)


def test_without_pytest_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    code, _, err = run("check", "toy_low")
    assert code == 2
    assert "tlresearch[test]" in err


@pytest.mark.parametrize(
    ("name", "factor", "code", "told"),
    [
        ("good", "(1 - clock.progress)", 0, "2 passed"),
        ("bad", "(0.5 - clock.progress)", 1, "test_schedule_is_a_finite_factor[toy_bad]"),
    ],
)
def test_a_kept_and_a_broken_contract(folder, name, factor, code, told):
    (folder / "elsewhere").mkdir()
    file = folder / "elsewhere" / "line.py"
    file.write_text(PLUGIN.format(name=name, factor=factor))
    command = [sys.executable, "-m", "tlresearch", "check", str(file)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stdout


def test_a_plugin_that_the_kit_cannot_guess_fails_by_name_until_it_is_told(folder):
    (folder / "wait.py").write_text(
        PLUGIN.format(name="told", factor="(1 - clock.progress)").replace("scale: float = 1.0", "scale: float")
    )
    command = [sys.executable, "-m", "tlresearch", "check", "wait.py"]
    ends = []
    for given in ([], ["schedule.scale=0.5"]):
        done = subprocess.run([*command, *given], cwd=folder, capture_output=True, text=True)
        ends.append((done.returncode, "schedule.scale=…" in done.stdout))
    assert ends == [(1, True), (0, False)]
