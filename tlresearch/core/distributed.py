"""The little that methods need to know of ranks."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process among them."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, the same on each (one process: the tensor itself)."""
    return sum_over_ranks(tensor) / ranks()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, the same on each (one process: the tensor itself)."""
    if ranks() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def broadcast(value: T) -> T:
    """Rank 0's value on every rank."""
    if ranks() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, 0)
    return box[0]


def gather(value: T) -> list[T]:
    """Every rank's value, in order of ranks, on each; tensors in it should be on the CPU."""
    if ranks() == 1:
        return [value]
    values: list[T | None] = [None] * ranks()
    dist.all_gather_object(values, value)
    return [v for v in values if v is not None]
