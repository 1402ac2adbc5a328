"""Which configurations of a model hold its ``raf`` block: its own, and those of the parts that have RAFs.

A part, such as the text tower of a CLIP, can then be saved and loaded by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from raft.hf.config import RafConfig
from raft.hf.sites.find import Site, find_sites, rationals
from raft.modules import Rational, SharedRational

LAYOUT = "_raft_layout"
"""Attribute of a model: where it had activations when its configuration was last known to describe it."""


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


def sync_raf_config(model: PreTrainedModel) -> None:
    """Make the configuration of a model that is saved build the RAFs that the model has.

    The whole gets the ``raf`` block of its converted parts, where it has none. Parts that have RAFs get that
    of the whole, so that they can be loaded from its folder by themselves. Where layers were taken out or
    moved since the model was built or converted, the block names the layers that have a RAF now.

    Raises:
        ValueError: where no block builds this model, or the configuration builds one of another size.
    """
    if getattr(model, "_hf_peft_config_loaded", False):  # its adapter alone is saved
        return
    _move_owners_first(model)
    found = find_sites(model)
    if model.config.raf is None:
        _tell_whole_of_parts(model)
    else:
        _tell_parts_of_whole(model, [site for site in found if is_rational(site)])
    _sync_scales(model)
    config = RafConfig.of(model.config)
    has_moved = getattr(model, LAYOUT, None) not in (None, layout(found))
    if config is not None and (has_moved or _misplaced(model, found) or not _is_shared_so(config, found)):
        config = _as_it_is(config, found)
        _set_raf(model, found, config)
    if config is not None and not _is_shared_so(config, found):
        raise ValueError(
            f"{type(model).__name__} cannot be saved: its stacks share RAFs in different ways, which no raf "
            "block describes"
        )
    wrong = _misplaced(model, found)
    if wrong is not None:
        place, is_planned = wrong
        raise ValueError(
            f"{type(model).__name__} cannot be saved: its configuration says that {place} has "
            f"{'a RAF, but it has none' if is_planned else 'none, but it has one'}; convert or revert the "
            "whole model, or save the part that was converted"
        )
    if has_moved:
        _check_size(model)


def remember_layout(model: PreTrainedModel) -> None:
    """Remember where a model and its parts have activations: their configurations describe this layout."""
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            setattr(part, LAYOUT, layout(find_sites(part)))


def is_rational(site: Site) -> bool:
    """Whether a RAF stands there, its own or another place's."""
    return isinstance(site.activation, (Rational, SharedRational))


def layout(found: Sequence[Site]) -> tuple[str, ...]:
    """The places of a model's activations; a compiled module is the one that it was."""
    return tuple(site.name.replace("_orig_mod.", "") for site in found)


def _misplaced(model: PreTrainedModel, found: Sequence[Site]) -> tuple[str, bool] | None:
    """A place that would not be built as it is, and whether the configurations plan a RAF there."""
    planned = {site.name: False for site in found}
    for path, part in model.named_modules():
        if isinstance(part, PreTrainedModel):
            config = RafConfig.of(part.config)
            chosen = [site for site in found if config is not None and is_chosen(site, config)]
            planned |= {site.name: True for site in chosen if not path or site.name.startswith(f"{path}.")}
    return next(
        ((site.name, planned[site.name]) for site in found if planned[site.name] != is_rational(site)), None
    )


def _as_it_is(config: RafConfig, found: Sequence[Site]) -> RafConfig:
    """The block with the layers that have RAFs now, and those that share one."""
    owners: dict[int, int] = {}
    for site in found:
        if site.kind == "ffn" and site.layer is not None and is_rational(site):
            act = site.activation
            owners[site.layer] = id(act.shared if isinstance(act, SharedRational) else act)
    every = {site.layer for site in found if site.kind == "ffn"}
    layers = "all" if set(owners) == every else tuple(sorted(owners))
    shared = config.shared
    if not _is_shared_so(config, found) or isinstance(shared, Mapping):
        groups: dict[int, list[int]] = {}
        for layer, owner in owners.items():
            groups.setdefault(owner, []).append(layer)
        several = [tuple(of) for of in groups.values() if len(of) > 1]
        shared = {f"shared {number}": of for number, of in enumerate(several)} or False
    return replace(config, layers=layers or config.layers, shared=shared)


def _set_raf(model: PreTrainedModel, found: Sequence[Site], config: RafConfig) -> None:
    own_configs(model)
    for holder in configs_with_sites(model, [site for site in found if is_rational(site)]):
        if holder.raf is not None:
            holder.raf = config.to_dict()


def _move_owners_first(model: PreTrainedModel) -> None:
    """Let a shared RAF stand at the first of its places, where a model that is built has it; the place that
    held it may have been moved back, or taken out of the model."""
    found = find_sites(model)
    places = {id(site.activation): site for site in found}
    seen: set[int] = set()
    for site in found:
        act = site.activation
        if isinstance(act, SharedRational) and id(act.shared) not in seen:
            shared = act.shared
            held = places.get(id(shared))
            if held is not None:
                held.set_activation(SharedRational(shared, shared.replaced[0]).train(shared.training))
            shared.replaced = act.replaced
            site.set_activation(shared)
        seen.add(id(site.activation))


def _sync_scales(model: PreTrainedModel) -> None:
    """Where one RAF has scales, all have, and the configurations say so."""
    acts = rationals(model).values()
    has_scales = any(act.numerator_scale is not None for act in acts)
    for act in acts if has_scales else ():
        if act.numerator_scale is None:
            act.scale_to()
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    blocks = [RafConfig.of(part.config) for part in parts]
    if any(block is not None and block.scaled != has_scales for block in blocks):
        own_configs(model)
        for part in parts:
            block = RafConfig.of(part.config)
            if block is not None:
                part.config.raf = replace(block, scaled=has_scales).to_dict()


def _is_shared_so(config: RafConfig, found: Sequence[Site]) -> bool:
    """Whether the layers that share a RAF are those that the block names, in each stack."""
    owners: dict[tuple[str | None, str], set[int]] = {}
    names: dict[int, set[str]] = {}
    for site in found:
        if site.kind == "ffn" and site.experts is None and is_rational(site):
            act = site.activation
            name = config.owner(site.layer)
            # sites of other fixed functions get a RAF of their own
            was = act.replaced[0] if isinstance(act, (Rational, SharedRational)) and act.replaced else None
            key = site.stack, f"{name}, {was!r}" if name is not None else site.name
            owner = id(act.shared if isinstance(act, SharedRational) else act)
            owners.setdefault(key, set()).add(owner)
            names.setdefault(owner, set()).add(str(key))
    return all(len(ids) == 1 for ids in owners.values()) and all(len(of) == 1 for of in names.values())


def _check_size(model: PreTrainedModel) -> None:
    """Raise ``ValueError`` unless the configuration builds a model with the same tensors."""
    with torch.device("meta"):
        built = type(model)(copy.deepcopy(model.config))
    before, now = (
        {name: value.shape for name, value in each.state_dict().items()} for each in (built, model)
    )
    wrong = next((name for name in (*before, *now) if before.get(name) != now.get(name)), None)
    if wrong is not None:
        there = "builds" if wrong in before else "does not build"
        raise ValueError(
            f"{type(model).__name__} cannot be saved: its layers were changed, and its configuration {there} "
            f"{wrong}{' otherwise' if wrong in before and wrong in now else ''}; set the configuration's "
            "sizes, such as num_hidden_layers, to the model's"
        )


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
