"""Which configurations of a model hold its ``raf`` block: its own, and those of the parts that have RAFs.

A part, such as the text tower of a CLIP, can then be saved and loaded by itself.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from raft.hf.config import RafConfig
from raft.hf.sites import Site, sites
from raft.modules import Rational, SharedRational


def is_chosen(site: Site, config: RafConfig) -> bool:
    """Whether a configuration asks for a RAF there."""
    return site.kind in config.sites and (site.kind != "ffn" or config.has_layer(site.layer))


def own_configs(model: PreTrainedModel) -> None:
    """Let the model and its parts no longer share configurations with other models built from them."""
    copies: dict[int, Any] = {}
    copy.deepcopy(model.config, copies)
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(config, PreTrainedConfig) and id(config) in copies:
            module.config = copies[id(config)]


def configs_with_sites(model: PreTrainedModel, found: Sequence[Site]) -> list[Any]:
    """The configurations of the model, and of those of its parts that hold one of these sites."""
    return [
        module.config
        for path, module in model.named_modules()
        if isinstance(module, PreTrainedModel)
        and (not path or any(site.name.startswith(f"{path}.") for site in found))
    ]


def tell_of_rationals(model: PreTrainedModel) -> None:
    """Give the model's configuration the ``raf`` block of its converted parts, where it has none, and parts
    that have RAFs that of the model, so that they can be loaded from its folder by themselves.

    A model that would be built otherwise than it is gets a line in the log.
    """
    found = sites(model)
    is_rational = {site.name: isinstance(site.activation, (Rational, SharedRational)) for site in found}
    if model.config.raf is None:
        _tell_whole_of_parts(model)
    else:
        _tell_parts_of_whole(model, [site for site in found if is_rational[site.name]])
    planned = dict.fromkeys(is_rational, False)
    for path, part in model.named_modules():
        if isinstance(part, PreTrainedModel):
            config = RafConfig.of(part.config)
            chosen = [site for site in found if config is not None and is_chosen(site, config)]
            planned |= {site.name: True for site in chosen if not path or site.name.startswith(f"{path}.")}
    wrong = [name for name in planned if planned[name] != is_rational[name]]
    if wrong:
        logging.getLogger("raft").warning(
            "%s is saved, but will not be loaded as it is: its configuration says that %s has %s, but it has "
            "%s; convert or revert the whole model, or save the part that was converted",
            type(model).__name__, wrong[0], *(["a RAF", "none"] if planned[wrong[0]] else ["none", "one"]),
        )  # fmt: skip


def _tell_whole_of_parts(model: PreTrainedModel) -> None:
    for part in model.modules():
        if part is not model and isinstance(part, PreTrainedModel) and part.config.raf is not None:
            for config in (model.config, *_sub_configs(model.config)):
                if _role(config) == _role(part.config) and config.raf is None:
                    config.raf = copy.deepcopy(part.config.raf)


def _tell_parts_of_whole(model: PreTrainedModel, found: Sequence[Site]) -> None:
    if any(config.raf is None for config in configs_with_sites(model, found)):
        own_configs(model)
        for config in configs_with_sites(model, found):
            if config.raf is None:
                config.raf = copy.deepcopy(model.config.raf)


def _role(config: Any) -> tuple[Any, ...]:
    return type(config), getattr(config, "is_decoder", None), getattr(config, "is_encoder_decoder", None)


def _sub_configs(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    found = [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return found + [inner for each in found for inner in _sub_configs(each)]
