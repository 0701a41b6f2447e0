"""What the tests of shared and killed sweeps need: a method that writes down who trains what, and the command."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

WITNESS = """
    import os
    import time

    from tlresearch import Method, register

    @register("method", "witness")
    class Witness(Method):
        '''Writes down which process takes a step of which run; its tag changes the numbers.'''

        def __init__(self, *, tag: int = 0) -> None:
            self.tag = tag

        def _say(self, what):
            file = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{self.tag} {os.getpid()} {what}\\n".encode())
            os.close(file)

        def on_stage_start(self, model, stage, batches):
            self._say("start")

        def loss(self, model, batch, out, clock):
            return {"tag": 0.01 * self.tag * out.features.pooled.square().mean()}

        def after_step(self, model, clock):
            self._say("step")
            time.sleep(float(os.environ.get("PAUSE", "0")))
"""

SMALL = ("backbone=mlp", "progress=false", "accelerator=cpu", "dataset.labels_per_class=10")


def axis(runs):
    """Overrides of a sweep of so many different runs, some 20 steps each."""
    tags = ",".join(map(str, range(runs)))
    return ["method=[witness]", f"method.witness.tag={tags}", "steps=20", "evaluate_every=10", "checkpoint_seconds=0"]


class Terminal:
    """One `tlresearch train -m` in a process group of its own."""

    def __init__(self, *overrides, witness, pause=0.0):
        self.witness = witness
        command = [sys.executable, "-m", "tlresearch", "train", "-m", *SMALL, *overrides]
        self.environment = {**os.environ, "WITNESS": str(witness), "PAUSE": str(pause)}
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, timeout=600):
        """Exit code and the lines of stderr."""
        _, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, err.splitlines()

    def kill(self, everything):
        """SIGKILL to the main process alone; or as power loss, to all that it and its predecessors have started.

        Without the latter a launcher's jobs, which go on alone, pile up faster than a slow machine works them off.
        """
        self.process.kill()
        for process in family(self.witness) if everything else ():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.stderr.close()
        self.process.wait()


def total(err):
    """The line that sums a sweep up; Ray may still hand on what its workers said before."""
    return [line for line in err if re.match(r"\d+ runs?: ", line)][-1]


def family(witness):
    """Every process that was started for a sweep with this witness, however far down, but zombies."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("WITNESS") == str(witness) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def nobody_left(witness, seconds=30.0):
    """Whether all of the family ends by itself in that time."""
    end = time.monotonic() + seconds
    while family(witness) and time.monotonic() < end:
        time.sleep(0.1)
    return not family(witness)


def said(witness):
    """(tag, process, what) in the order in which it was written down."""
    lines = witness.read_text().splitlines() if witness.exists() else []
    return [(int(tag), int(pid), what) for tag, pid, what in map(str.split, lines)]


def together(witness):
    """Runs that two processes trained at the same time: after another one's step the first took one more."""
    wrong = set()
    for wanted in {tag for tag, _, _ in said(witness)}:
        order = [pid for tag, pid, _ in said(witness) if tag == wanted]
        changes = [a for a, b in zip([None, *order], order, strict=False) if a != b]
        if len(changes) != len(set(order)):
            wrong.add(wanted)
    return wrong


def rows(store):
    """Identity → (status, tag, metrics, stages) of every run of a store."""
    found = {}
    for file in Path(store).glob("*/run.json"):
        record = json.loads(file.read_text())
        tag = record["config"]["method"]["witness"]["tag"]
        found[record["identity"]] = (record["status"], tag, record.get("metrics"), record.get("stages"))
    return found
