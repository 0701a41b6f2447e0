"""The tuners of the installed peft: which there are, their options, and putting one into a backbone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from peft import PeftConfig, PeftType, PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

from tlresearch.config.errors import ConfigError, Problem, choose, fail, nearest
from tlresearch.core.backbone import Backbone
from tlresearch.nn.adapters import SHARED
from tlresearch.nn.targets import choose_targets

ELSEWHERE = frozenset(
    [
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters"),  # targets
        *("modules_to_save", "trainable_token_indices", "ensure_weight_tying"),  # heads are no part of a backbone
        *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
        *("inference_mode", "megatron_core", "layer_replication", "alora_invocation_tokens"),  # more than layers
        "use_asa",  # its importance scores are in no state that a resumed run could load
    ]
)
"""Fields of peft's configurations that are no options here, beside the nested ones (`…_config`)."""
NEEDS_DATA = {"eva": "give method=[lora] method.lora.initialisation=eva", "corda": "", "lora_ga": ""}
"""Initialisations of LoRA that look at data, which there is none of when a backbone is set up."""
_SEED = re.compile(r"(^|_)(seed|prng_key)$")


def names() -> list[str]:
    """All types of the installed peft, in lower case."""
    return sorted(kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING)


def tuner_of(name: str) -> type[BaseTuner]:
    """The tuner of a type; raises ConfigError for unknown types and for those that put nothing into layers."""
    choose("type", name, names())
    config, tuner = _config_of(name), PEFT_TYPE_TO_TUNER_MAPPING[_kind_of(name)]
    if issubclass(config, PromptLearningConfig) or "prompt" in name:
        other = "a type that goes into layers (lora, ia3, vera, …), or the methods that prompt a transformer themselves"
        fail("type", name, f"needs a prompt, for which this backbone has no place; choose {other}")
    if not issubclass(tuner, BaseTuner) or "target_modules" not in _fields(config):
        fail("type", name, "does not put parameters into layers: it needs adapters that are trained already")
    return tuner


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for options that a type does not have, or that need what a backbone does not give."""
    fields = _fields(_config_of(name))
    allowed = sorted(f for f in fields if f not in ELSEWHERE and not (f.endswith("_config") and f != "loftq_config"))
    for option in options:
        if option not in allowed:
            fail("options", option, f"no option of {name}; {nearest(option, allowed)}")
    start = str(options.get("init_lora_weights", "")).partition("_niter_")[0]
    if start in NEEDS_DATA:
        advice = NEEDS_DATA[start] or "choose another initialisation, e.g. pissa or olora"
        fail("options", dict(options), f"init_lora_weights={start} needs data before training; {advice}")


def configuration(name: str, options: Mapping[str, Any]) -> PeftConfig:
    """peft's configuration of a type; raises ConfigError for values that peft refuses.

    Seeds of its own (`projection_prng_key`, `random_loc_seed` …) that are not given are drawn from torch's generator.
    """
    make = _config_of(name)
    fields = _fields(make)
    seeds = {f: _draw() for f in fields if _SEED.search(f) and fields[f] is not None and f not in options}
    fixed = {"progressbar": False} if "progressbar" in fields else {}
    length = {"total_step": 1} if "total_step" in fields else {}  # known when training starts
    begins = {"tinit": 0, "tfinal": 0} if length else {}  # held against the true length then
    try:
        made = make(**{**seeds, **fixed, **length, **options, **begins})
    except (TypeError, ValueError, AssertionError) as error:
        fail("options", dict(options), f"refused by peft's {name}: {error}")
    for field in begins:
        setattr(made, field, options.get(field, 0))
    return made


def inject(backbone: Backbone, tuner: type[BaseTuner], config: Any, targets: str, key: str) -> BaseTuner:
    """Puts a tuner's layers in the place of the backbone's; what moves from now on has `requires_grad`.

    Unlike `peft.inject_adapter_in_model` it takes tuners whose layers share state: what of it hangs on no layer is
    hung on the backbone, so that it is moved and saved with it.

    Args:
        config: peft's, without target modules; targets, key: see `choose_targets`.
    """
    if any(isinstance(module, BaseTunerLayer) for module in backbone.modules()):
        fail("targets", targets, "this backbone has adapters of peft already; one tuner a backbone")
    config.target_modules = set(choose_targets(backbone, tuner, config, targets, key))
    if hasattr(config, "feedforward_modules"):
        given = config.feedforward_modules or []
        config.feedforward_modules = [n for n in config.target_modules if any(re.search(g, n) for g in given)]
    before = {name: backbone.get_submodule(name) for name in config.target_modules}
    weights = {name: [(p, p.detach().clone()) for p in module.parameters()] for name, module in before.items()}
    try:
        placed = tuner(backbone, config, "default")
    except (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, AttributeError) as error:
        raise ConfigError(Problem(key, f"{targets!r}: refused by peft: {error}")) from error
    with torch.no_grad():
        for parameter, old in (pair for pairs in weights.values() for pair in pairs):
            if not torch.equal(parameter, old):
                parameter.copy_(parameter.clone())  # peft assigns `.data`, which no version counter notices
    own = {id(tensor) for tensor in backbone.state_dict(keep_vars=True).values()}
    loose = {
        name: child
        for name, child in placed.named_children()
        if child is not backbone and any(id(t) not in own for t in child.state_dict(keep_vars=True).values())
    }
    if loose:
        backbone.add_module(SHARED, nn.ModuleDict(loose))
    return placed


def faster(
    parameters: Mapping[str, nn.Parameter], ratio: float
) -> list[tuple[Iterable[nn.Parameter], dict[str, float]]]:
    """LoRA+ (Hayou et al., 2024, arXiv:2402.12354, sec. 4): B, and vectors such as DoRA's magnitude, at ratio × A's."""
    quick = [p for name, p in parameters.items() if "lora_B" in name or p.ndim == 1]  # as create_loraplus_optimizer
    return [(quick, {"lr_scale": ratio})]


def _kind_of(name: str) -> PeftType:
    return next(kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value.lower() == name)


def _config_of(name: str) -> type[PeftConfig]:
    return PEFT_TYPE_TO_CONFIG_MAPPING[_kind_of(name)]


def _fields(make: type[PeftConfig]) -> dict[str, Any]:
    """Field → default."""
    return {field.name: field.default for field in dataclasses.fields(make)}


def _draw() -> int:
    return int(torch.randint(2**31 - 1, ()))
