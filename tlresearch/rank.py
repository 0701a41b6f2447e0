"""One rank of a run on several devices: `python -m tlresearch.rank JOB.json`, started by `launch`."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path

from tlresearch.config.budget import Spent
from tlresearch.config.errors import ConfigError


def main(job: Path) -> int:
    """Runs the resolved configuration; mistakes of the user's are left in a file for the process that waits."""
    from tlresearch.runner import RunFailed, execute_here, prepare

    content = json.loads(job.read_text())
    try:
        execute_here(prepare(content["config"]), content["config"], content["overrides"])
    except ConfigError as error:
        (job.parent / "mistakes.json").write_text(json.dumps([list(problem) for problem in error.problems]))
        return 2
    except Spent:  # on every rank, and the first has written it down; a bad end here would end it while it writes
        return 0
    except Exception as error:  # told by the process that waits: only the first rank has a record and an output
        cause, when = error.__cause__ or error, error.time if isinstance(error, RunFailed) else time.time()
        failure = {"time": when, "error": f"{type(cause).__name__}: {cause}", "traceback": traceback.format_exc()}
        (job.parent / f"failure{os.environ['RANK']}.json").write_text(json.dumps(failure))
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
