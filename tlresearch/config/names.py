"""Which file `-cn NAME` means: of two that have the name, Hydra would take the first it finds and say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

from tlresearch.config import registry
from tlresearch.config.errors import fail


def check_name(arguments: Sequence[str]) -> None:
    """Refuses a configuration name that two files share.

    Looked through are the folder that -cd names, the shipped conf/ and sweeps/, and without -cd also sweeps/ in the
    working folder, which Hydra does not know: who has a sweep of that name there means it.
    """
    given, _ = get_args_parser().parse_known_args(list(arguments))
    if given.config_name is None:
        return
    own = Path(given.config_dir) if given.config_dir is not None else Path("sweeps")
    file = given.config_name.removesuffix(".yaml") + ".yaml"
    places = [folder / file for folder in (own, registry.shipped("conf"), registry.shipped("sweeps"))]
    found = {place.resolve(): str(place) for place in places if place.is_file()}
    if len(found) > 1:
        files = " and ".join(map(repr, found.values()))
        advice = "rename yours, and give -cd FOLDER -cn NAME"
        fail("config name", given.config_name, f"two files have it, {files}; {advice}")
