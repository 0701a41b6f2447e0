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
    from tlresearch.results.claim import RunFailed
    from tlresearch.results.lock import Busy
    from tlresearch.runner import execute_here, prepare

    content = json.loads(job.read_text())
    try:
        execute_here(prepare(content["config"]), content["config"], content["overrides"])
    except ConfigError as error:
        mistakes = {"busy": isinstance(error, Busy), "problems": [list(problem) for problem in error.problems]}
        (job.parent / "mistakes.json").write_text(json.dumps(mistakes))
        return 2
    except Spent as spent:  # on every rank; a bad end of one here would end the first while it writes
        if os.environ["RANK"] == "0":
            (job.parent / "spent.json").write_text(json.dumps(spent.args))
        return 0
    except Exception as error:  # told by the process that waits: only the first rank has a record and an output
        cause, when = error.__cause__ or error, error.time if isinstance(error, RunFailed) else time.time()
        failure = {"time": when, "error": f"{type(cause).__name__}: {cause}", "traceback": traceback.format_exc()}
        failure["resumable"] = isinstance(error, RunFailed) and error.resumable
        (job.parent / f"failure{os.environ['RANK']}.json").write_text(json.dumps(failure))
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
