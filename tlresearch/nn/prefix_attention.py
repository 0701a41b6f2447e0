"""Attention of transformers' networks to keys and values that are not computed from the input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tlresearch.config.errors import ConfigError
from tlresearch.nn.added import Added

NAME = "tlresearch_prefix"
"""Of this attention among those of transformers."""

ALLOWED = "it takes those whose attention is torch's through transformers' interface: BERT, RoBERTa, T5, GPT-2, Llama …"

CHILD = "prefix"
"""The module below an attention that extends its keys and values."""


class Extension(Added):
    """What an attention asks for the keys and values in front of its own."""

    def in_front(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """key, value: (B, H, L, D) → the same with P positions instead of L; None = none."""
        raise NotImplementedError


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """torch's attention with the keys and values of the module's extension in front, which no mask hides.

    attention_mask: (…, L or 1, at least L), True or 0 where a position is seen; None = all, or those before in causal
    attention. position_bias: added to the scores; zero for what is in front.
    """
    extension = module._modules.get(CHILD)
    front = extension.in_front(key, value) if isinstance(extension, Extension) else None
    if front is not None:
        length, count = key.shape[2], front[0].shape[2]
        causal = options.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        if attention_mask is None and causal and query.shape[2] > 1:
            attention_mask = torch.ones(query.shape[2], length, dtype=torch.bool, device=key.device).tril()[None, None]
        if attention_mask is not None:
            attention_mask = _widened(attention_mask[..., :length], count)
        if options.get("position_bias") is not None:
            options["position_bias"] = _widened(options["position_bias"], count)
        options["is_causal"] = False
        key, value = (torch.cat([new, own], 2) for new, own in zip(front, (key, value), strict=True))
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output, None


def extensible(network: nn.Module) -> None:
    """Makes a network of transformers, and no other one, attend this way; without extensions it computes the same.

    Raises ConfigError where it was told to compute attention otherwise, or cannot do so by torch's own function.
    """
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    models = [module for module in network.modules() if isinstance(module, PreTrainedModel)]
    configs: dict[int, Any] = {id(model.config): model.config for model in models}
    for config in configs.values():
        if config._attn_implementation != "sdpa":
            how = f"{type(network).__name__} computes attention as {config._attn_implementation!r}"
            raise ConfigError(f"{how} and keys can be put in front only of torch's own (sdpa); {ALLOWED}")
    for config in configs.values():
        config._attn_implementation = NAME


def _widened(mask: Tensor, count: int) -> Tensor:
    """A mask with `count` more positions in front that every row sees."""
    seen = torch.ones if mask.dtype == torch.bool else torch.zeros
    return torch.cat([seen(*mask.shape[:-1], count, dtype=mask.dtype, device=mask.device), mask], -1)
