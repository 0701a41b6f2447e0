"""The scripts in real shells, as far as they are installed."""

import os
import shutil
import subprocess
import sys

import pytest

from tlresearch.commands.completion import SCRIPTS, words


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tlresearch ", [""]),
        ("tlresearch", [""]),
        ("tlresearch tr", ["tr"]),
        ("tlresearch train seed=1 ", ["train", "seed=1", ""]),
        ("tlresearch train 'method=[lora]' see", ["train", "method=[lora]", "see"]),
        ("tlresearch train 'method=[lora, e", ["train", "method=[lora, e"]),
        ('tlresearch train "a=b c" "method=[l', ["train", "a=b c", "method=[l"]),
        ("tlresearch train a=#1 b", ["train", "a=#1", "b"]),
    ],
)
def test_words(line, expected):
    assert words(line) == expected


@pytest.fixture
def path(tmp_path):
    """A PATH on which `tlresearch` is this one."""
    command = tmp_path / "bin/tlresearch"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tlresearch "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("line", "before_cursor", "replies"),
    [
        ("tlresearch tr", ["tlresearch", "tr"], ["train"]),
        ("tlresearch train method=[toy", ["tlresearch", "train", "method", "=", "[toy"], ["[toy_low", "[toy_low]"]),
        (
            "tlresearch train 'method=[toy",
            ["tlresearch", "train", "'method=[toy"],
            ["method=[toy_low", "method=[toy_low]"],
        ),
        ("tlresearch train batch_", ["tlresearch", "train", "batch_"], ["batch_size="]),
        ("tlresearch show method toy", ["tlresearch", "show", "method", "toy"], ["toy_low"]),
    ],
)
def test_the_bash_function(path, line, before_cursor, replies):
    parts = " ".join(f'"{word}"' for word in before_cursor)
    script = (
        f"{SCRIPTS['bash']}\nCOMP_WORDS=({parts}); COMP_CWORD={len(before_cursor) - 1}\n"
        f'COMP_LINE="{line}"; COMP_POINT={len(line)}\n_tlresearch\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.stdout.splitlines() == replies, done.stderr


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (b"tlresearch train method=[toy\t,dan\t] see\t", b"tlresearch train method=[toy_low,dann] seed="),
        (b"tlresearch train 'method=[toy\t]'", b"tlresearch train 'method=[toy_low]'"),
        (b"tlresearch sho\tmet\ttoy\t", b"tlresearch show method toy_low "),
    ],
)
def test_typing_in_bash(path, typed, line, tmp_path):
    import pty
    import select
    import time

    script = tmp_path / "completion.bash"
    script.write_text(SCRIPTS["bash"])
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.environ.update(PATH=path, PS1="> ", TERM="dumb")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

    def read_until(mark: bytes, seconds: float = 20) -> bytes:
        seen, end = b"", time.monotonic() + seconds
        while mark not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 4096).replace(b"\a", b"")  # the bell where several candidates remain
        return seen

    try:
        os.write(terminal, f"bind 'set enable-bracketed-paste off'; source {script}; echo rea''dy\n".encode())
        assert b"ready" in read_until(b"ready")
        os.write(terminal, typed)
        assert line in read_until(line)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish(path):
    command = f"{SCRIPTS['fish']}\ncomplete -C 'tlresearch train method=[toy'"
    done = subprocess.run(["fish", "-c", command], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.splitlines() == ["method=[toy_low"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_the_zsh_script_is_zsh(path):
    assert subprocess.run(["zsh", "-n", "-c", SCRIPTS["zsh"]], capture_output=True).returncode == 0
