"""The end of a run, and `tlresearch report RUN`: its numbers, its classes, its mistakes and where the pictures are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tlresearch.commands.table import print_table
from tlresearch.config.errors import ConfigError

if TYPE_CHECKING:
    from tlresearch.results.runs import Run


def show(run: Run) -> None:
    """Prints a run's details and writes its pictures; of one that is not done, how it stands."""
    if run.status != "done":
        print(f"{run.folder} is {run.status}: {run.record.get('error') or 'tlresearch train goes on with it'}")
        return
    from tlresearch.results.details import details, has_details, shown
    from tlresearch.results.pictures import PICTURED, write

    test = {name: value for name, value in run.metrics["test"].items() if not isinstance(value, dict)}
    print_table(list(test), [[shown(value) for value in test.values()]], "on the test rows")
    if not has_details(run):
        print(f"{run.folder} keeps no logits; run it again in a new store for classes and mistakes")
        return
    found, stream = details(run), None
    notes: list[str] = []
    written: list[Path] = []
    try:
        stream = run.stream
    except ConfigError as error:
        notes.append(f"the mistakes' inputs cannot be shown without the data ({error})")
    for task in found:
        name = f" of {task.task.name}" if len(found) > 1 else ""
        suffix = "" if len(found) == 1 else f"-{quote(task.task.name, safe=' ')}"
        mistakes = task.mistakes(stream)
        for table in task.tables(mistakes, name):
            print()
            if table.body:
                print_table(table.header, table.body, table.title)
            else:
                print(table.title)
        if len(task.task.labels) > PICTURED:
            notes.append(f"no picture of the confusions{name}: more than {PICTURED} classes")
        try:
            written += write(run.folder, task, mistakes, stream, suffix)
        except OSError as error:
            notes.append(f"nothing can be written to {run.folder}: {error}")
    print()
    for note in notes:
        print(note)
    if written:
        print(f"in {run.folder}: {', '.join(file.name for file in written)}")
