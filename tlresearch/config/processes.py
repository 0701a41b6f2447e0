"""Which of several processes of one run this is, by what torchrun, Slurm or `launch` say in the environment."""

from __future__ import annotations

import os


def within_ranks() -> bool:
    """Whether this process is already one of several (started by us, torchrun or a scheduler)."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def speaks() -> bool:
    """Whether this process prints results: of the ranks that torchrun or Slurm started, the first one alone."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"
