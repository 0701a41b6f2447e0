"""One rank of a run on several devices: `python -m tlresearch.rank JOB.json`, started by `launch`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tlresearch.config.errors import ConfigError


def main(job: Path) -> int:
    """Runs the resolved configuration; mistakes of the user's are left in a file for the process that waits."""
    from tlresearch.runner import execute_here, prepare

    content = json.loads(job.read_text())
    try:
        execute_here(prepare(content["config"]), content["config"], content["overrides"])
    except ConfigError as error:
        (job.parent / "mistakes.json").write_text(json.dumps([list(problem) for problem in error.problems]))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
