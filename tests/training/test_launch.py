"""What a run sets for its whole process."""

import os
import subprocess
import sys

import pytest


def test_a_run_counts_denormal_numbers_as_zero_in_every_thread(tmp_path):
    overrides = ["backbone=mlp", "dataset=digits", "method=[finetune]", "steps=1", f"store={tmp_path}"]
    lines = [
        "import torch",
        "from tlresearch.commands.main import main",
        f"assert main(['train', *{overrides}]) == 0",
        "left = int((torch.full((2**20,), 1e-39) * 1).view(torch.int32).count_nonzero())",
        "print('left', left, torch.set_flush_denormal(True))",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=environment)
    word, left, possible = done.stdout.splitlines()[-1].split()
    if possible == "False":
        pytest.skip("this processor cannot")
    assert (word, left) == ("left", "0"), done.stdout + done.stderr
