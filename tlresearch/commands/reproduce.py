"""`tlresearch reproduce`: measures what papers have published, and says whether it holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from tlresearch.commands import verdicts
from tlresearch.commands.main import complain
from tlresearch.config.errors import ConfigError, choose
from tlresearch.config.quoting import quote
from tlresearch.results import claim_file, claim_runs
from tlresearch.results.claim_runs import State

DOCUMENT = "docs/results/claims.md"
FORMATS = ("table", "json", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch reproduce` takes."""
    told = "a shipped claim, or the .yaml file of one; without any (and without --all) all are listed and nothing runs"
    parser.add_argument("claim", nargs="*", metavar="CLAIM | KEY=VALUE", help=f"{told}; overrides as of `train`")
    parser.add_argument("--all", action="store_true", help="every shipped claim")
    parser.add_argument("--format", default="table", metavar="FORMAT", help="table, json or markdown")
    parser.add_argument(
        "--output", metavar="FILE", help=f"where to write it; with --all --format markdown {DOCUMENT} by default"
    )


def main(arguments: argparse.Namespace) -> int:
    """Runs what is missing of the claims asked for, and prints published beside measured numbers with the verdicts.

    Exit codes are those of the runs: a claim that does not hold is a result, not a failure.
    """
    form = choose("format", arguments.format, FORMATS)
    overrides = [argument for argument in arguments.claim if "=" in argument and not Path(argument).is_file()]
    asked = [argument for argument in arguments.claim if argument not in overrides]
    if asked and arguments.all:
        raise ConfigError(f"{', '.join(asked)}: --all means every claim; leave one of the two out")
    listing = not asked and not arguments.all
    claims = [claim_file.read(name) for name in asked or claim_file.names()]
    codes, found = [0], []
    for claim in claims:
        state = claim_runs.state(claim, overrides)
        if not listing:
            codes.append(_run(state, overrides, alone=len(claims) == 1))
            state = claim_runs.state(claim, overrides)
        found.append(state)
    text = _text(found, form, listing, overrides, whole=arguments.all)
    output = arguments.output or (DOCUMENT if arguments.all and form == "markdown" else None)
    if output is None:
        print(text)
    else:
        verdicts.write(Path(output), text)
        print(output)
    return max(codes)


def _run(state: State, overrides: Sequence[str], alone: bool) -> int:
    """Runs what is missing through the ordinary sweep; what it prints goes to stderr. Returns its exit code."""
    again = "rerun_stale=true" in overrides and state.stale
    if not state.missing and not again:
        return 0
    try:
        claim_runs.check_data(state)
    except ConfigError as error:
        if alone:
            raise
        return complain(error)  # the others can still be measured
    from tlresearch.commands import train

    chosen = [f"--config-dir={folder}" for folder in claim_runs.folders(state.claim)]
    print(f"{state.claim.name}: {state.missing} of {state.total} runs are missing", file=sys.stderr)
    with redirect_stdout(sys.stderr):
        return train.main(["-m", *chosen, "-cn", state.claim.sweep, *map(quote, overrides)])


def _text(found: Sequence[State], form: str, listing: bool, overrides: Sequence[str], whole: bool) -> str:
    if form == "json":
        return verdicts.as_json(found)
    if form == "markdown":
        names = ["--all"] if whole else [state.claim.name for state in found]
        return verdicts.as_markdown(found, " ".join(["tlresearch reproduce", *names, *overrides]))
    return verdicts.as_list(found) if listing else "\n\n".join(verdicts.as_text(state) for state in found)
