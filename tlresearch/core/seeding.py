"""Random numbers as a function of what they are for, so that adding a method never moves another component's draw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def mix(*parts: object) -> int:
    """A 63-bit seed from names and numbers: `mix(seed, "head", "intent")`. Stable across processes and versions."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Inside, torch's random numbers start from `mix(*parts)`; outside, they go on as if nothing had happened."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        if torch.accelerator.is_available():
            torch.manual_seed(mix(*parts))
        else:  # the line above would note for each absent device from where it was called
            torch.default_generator.manual_seed(mix(*parts))
        yield


def reseed(*parts: object) -> None:
    """Restarts torch's default generators; cheaper than `torch.manual_seed`, which looks for every kind of device."""
    seed = mix(*parts)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
