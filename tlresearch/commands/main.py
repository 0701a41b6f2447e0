"""The command line: finds the command, hands it its arguments, and turns mistakes into messages and exit codes."""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from tlresearch import __version__
from tlresearch.config import garbage
from tlresearch.config.errors import ConfigError, nearest

COMMANDS = {
    "train": ("tlresearch.commands.train", "trains and evaluates one configuration, or with -m a sweep of them"),
    "list": ("tlresearch.commands.catalogue", "lists the plugins, of one kind or of all"),
    "show": ("tlresearch.commands.show", "explains one plugin, a variant or the settings"),
    "report": ("tlresearch.commands.report", "tabulates the runs of a store"),
    "reproduce": ("tlresearch.commands.reproduce", "measures what papers have published, and says whether it holds"),
    "predict": ("tlresearch.commands.predict", "labels images or texts with the model of a run"),
    "export": ("tlresearch.commands.export", "writes a trained model in the format of another library"),
    "check": ("tlresearch.commands.check", "runs the contract kit on one plugin"),
    "completion": ("tlresearch.commands.completion", "prints the completion script of a shell"),
}
"""Name → module with `add_arguments(parser)` and `main(arguments) -> int`, and a summary."""

USAGE, FAILED, INTERRUPTED = 2, 1, 130


def run() -> NoReturn:
    """The command as a process, which ends once all is written: to take torch apart object by object takes two seconds.

    What an orderly end does otherwise is done: threads are waited for, functions registered with atexit called.
    """
    garbage.postpone()  # until the runner has loaded all that stays, which is frozen then
    code = main()
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends its processes
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):  # the reader went away: no error, as below
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit codes: 0, 1 a run failed, 2 the user's mistake, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except ConfigError as error:
        return complain(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away (`tlresearch list | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def complain(error: ConfigError, debug: bool = False) -> int:
    """Prints a user's mistakes, with the traceback only on request."""
    if debug:
        traceback.print_exception(error)
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    return USAGE


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else USAGE
    if arguments[0] == "--version":
        print(f"tlresearch {__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        raise ConfigError(f"unknown command {command!r}; {nearest(command, COMMANDS)}")
    module = importlib.import_module(COMMANDS[command][0])
    if command == "train":  # Hydra reads these itself
        return int(module.main(rest))
    garbage.resume()
    parser = argparse.ArgumentParser(f"tlresearch {command}", description=COMMANDS[command][1])
    module.add_arguments(parser)
    try:
        parsed = parser.parse_intermixed_args(rest)  # CLAIM --all KEY=VALUE, in any order
    except SystemExit as stop:  # argparse has printed its message or help
        return int(stop.code or 0)
    return int(module.main(parsed))


def _help() -> str:
    lines = [f"  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tlresearch COMMAND …   (tlresearch COMMAND --help tells more)",
            "",
            "Transfer-learning research: one framework for every way to adapt a pretrained network.",
            "",
            *lines,
            "",
            "  tlresearch train backbone=convnet 'method=[lora,ewc]' dataset=digits seed=1",
            "  tlresearch train -m preset=scratch,probe,finetune,lora",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
