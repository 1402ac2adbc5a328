"""Keep the ``raf`` blocks of a model's configurations right: its own, and those of the parts that have RAFs.

A part, such as the text tower of a CLIP, can then be saved and loaded by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from raft.hf.sites.adapters import install_adapters
from raft.hf.sites.find import Site, find_sites, rationals
from raft.learned_activation import SharedActivation, is_learned, owner_of
from raft.networks.config import LAYER_SITES, RafConfig

SITE_NAMES = "_raft_site_names"
"""Attribute of a model: the names of its sites when its configuration last described it."""


def is_chosen(site: Site, config: RafConfig) -> bool:
    """Whether a configuration asks for a RAF at a site."""
    return site.kind in config.sites and (site.kind not in LAYER_SITES or config.has_layer(site.layer))


def check_layers(model: nn.Module, config: RafConfig, sites: Sequence[Site]) -> None:
    """Raise ``ValueError`` where no stack of a model has a layer that a configuration names."""
    layers: dict[str | None, int] = {}
    for site in sites:
        if site.layer is not None:
            layers[site.stack] = max(site.layer + 1, layers.get(site.stack, 0))
    missing = config.missing_layers(layers.values())
    if missing:
        has = ", ".join(f"{stack} has {count}" for stack, count in layers.items()) or "it has 0"
        raise ValueError(f"{type(model).__name__} has no layer {missing[0]}: {has}, counted from 0")


def copy_configs(model: nn.Module) -> None:
    """Replace the configurations of a model and its parts, which other models may share, by copies."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        config = vars(module).get("config")
        if isinstance(config, PreTrainedConfig):
            vars(module)["config"] = copy.deepcopy(config, copies)


def configs_with_sites(model: PreTrainedModel, sites: Sequence[Site]) -> list[Any]:
    """The configurations of a model, and of those of its parts that hold one of these sites."""
    return [
        module.config
        for path, module in model.named_modules()
        if isinstance(module, PreTrainedModel)
        and (not path or any(site.name.startswith(f"{path}.") for site in sites))
    ]


def sync_raf_config(model: PreTrainedModel) -> None:
    """Update the configuration of a model so that it builds the RAFs that the model has.

    A whole without a ``raf`` block gets that of its converted parts. Parts that have RAFs get that of the
    whole, so that they can be loaded from its folder by themselves. Where layers were removed or moved since
    the model was built or converted, the block names the layers that have a RAF now.

    Raises:
        ValueError: where no block builds this model, or the configuration builds one of another size.
    """
    if getattr(model, "_hf_peft_config_loaded", False):  # its adapter alone is saved
        return
    whole = RafConfig.of(model.config)
    if whole is not None:  # layers that are new since have no places for RAFs yet
        install_adapters(model, whole.sites)
    _move_owners_first(model)
    sites = find_sites(model)
    if model.config.raf is None:
        _copy_block_to_whole(model)
    else:
        _copy_block_to_parts(model, [site for site in sites if is_learned(site.activation)])
    _sync_scales(model)
    config = RafConfig.of(model.config)
    has_moved = getattr(model, SITE_NAMES, None) not in (None, site_names(sites))
    is_stale = has_moved or _find_mismatch(model, sites) is not None
    if config is not None and (is_stale or not _matches_sharing(config, sites)):
        config = _describe_rafs(config, sites)
        _set_blocks(model, sites, config)
    if config is not None and not _matches_sharing(config, sites):
        raise ValueError(
            f"{type(model).__name__} cannot be saved: its stacks share RAFs in different ways, which no raf "
            "block describes"
        )
    mismatch = _find_mismatch(model, sites)
    if mismatch is not None:
        site_name, is_planned = mismatch
        raise ValueError(
            f"{type(model).__name__} cannot be saved: its configuration says that {site_name} has "
            f"{'a RAF, but it has none' if is_planned else 'none, but it has one'}; convert or revert the "
            "whole model, or save the part that was converted"
        )
    if has_moved:
        _check_size(model)


def remember_sites(model: PreTrainedModel) -> None:
    """Store the names of the sites of a model and its parts, which their configurations now describe."""
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            setattr(part, SITE_NAMES, site_names(find_sites(part)))


def site_names(sites: Sequence[Site]) -> tuple[str, ...]:
    """The names of sites, the same whether modules are compiled or not."""
    return tuple(site.name.replace("_orig_mod.", "") for site in sites)


def _find_mismatch(model: PreTrainedModel, sites: Sequence[Site]) -> tuple[str, bool] | None:
    """A site that would not be built as it is, and whether the configurations plan a RAF there."""
    planned = {site.name: False for site in sites}
    for path, part in model.named_modules():
        if isinstance(part, PreTrainedModel):
            config = RafConfig.of(part.config)
            chosen = [site for site in sites if config is not None and is_chosen(site, config)]
            planned |= {site.name: True for site in chosen if not path or site.name.startswith(f"{path}.")}
    return next(
        (
            (site.name, planned[site.name])
            for site in sites
            if planned[site.name] != is_learned(site.activation)
        ),
        None,
    )


def _describe_rafs(config: RafConfig, sites: Sequence[Site]) -> RafConfig:
    """The block, updated with the layers that have RAFs and those that share one."""
    owners: dict[int, dict[str, int]] = {}
    for site in sites:
        if site.kind in LAYER_SITES and site.layer is not None and is_learned(site.activation):
            act = site.activation
            owner = id(owner_of(act))
            owners.setdefault(site.layer, {})[site.kind] = owner
    all_layers = {site.layer for site in sites if site.kind in LAYER_SITES and site.kind in config.sites}
    layers = "all" if set(owners) == all_layers else tuple(sorted(owners))
    shared = config.shared
    if not _matches_sharing(config, sites) or isinstance(shared, Mapping):
        groups: dict[frozenset[tuple[str, int]], list[int]] = {}
        for layer, of_kinds in owners.items():
            groups.setdefault(frozenset(of_kinds.items()), []).append(layer)
        several = [tuple(group) for group in groups.values() if len(group) > 1]
        shared = {f"shared {number}": group for number, group in enumerate(several)} or False
    return replace(config, layers=layers or config.layers, shared=shared)


def _set_blocks(model: PreTrainedModel, sites: Sequence[Site], config: RafConfig) -> None:
    copy_configs(model)
    for holder in configs_with_sites(model, [site for site in sites if is_learned(site.activation)]):
        if holder.raf is not None:
            holder.raf = config.to_dict()


def _move_owners_first(model: PreTrainedModel) -> None:
    """Move each shared RAF to the first of its sites, as in a new model; layers may have moved or be gone."""
    sites = find_sites(model)
    holders = {id(site.activation): site for site in sites}
    visited: set[int] = set()
    for site in sites:
        act = site.activation
        if isinstance(act, SharedActivation) and id(act.shared) not in visited:
            shared = act.shared
            holder = holders.get(id(shared))
            if holder is not None:
                holder.set_activation(SharedActivation(shared, shared.replaced[0]).train(shared.training))
            shared.replaced = act.replaced
            site.set_activation(shared)
        visited.add(id(site.activation))


def _sync_scales(model: PreTrainedModel) -> None:
    """Give all RAFs scales where one has them, and update the configurations."""
    acts = rationals(model).values()
    has_scales = any(act.numerator_scale is not None for act in acts)
    for act in acts if has_scales else ():
        if act.numerator_scale is None:
            act.scale_to()
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    blocks = [RafConfig.of(part.config) for part in parts]
    if any(block is not None and block.scaled != has_scales for block in blocks):
        copy_configs(model)
        for part in parts:
            block = RafConfig.of(part.config)
            if block is not None:
                part.config.raf = replace(block, scaled=has_scales).to_dict()


def _matches_sharing(config: RafConfig, sites: Sequence[Site]) -> bool:
    """Whether the layers of each stack share RAFs as the block says."""
    owners: dict[tuple[str | None, str], set[int]] = {}
    names: dict[int, set[str]] = {}
    for site in sites:
        if site.kind in LAYER_SITES and site.experts is None and is_learned(site.activation):
            act = site.activation
            name = config.owner(site.kind, site.layer)
            # sites of other fixed functions get a RAF of their own
            fixed = act.replaced[0] if is_learned(act) and act.replaced else None
            key = site.stack, f"{name}, {fixed!r}" if name is not None else site.name
            owner = id(owner_of(act))
            owners.setdefault(key, set()).add(owner)
            names.setdefault(owner, set()).add(str(key))
    return all(len(ids) == 1 for ids in owners.values()) and all(len(keys) == 1 for keys in names.values())


def _check_size(model: PreTrainedModel) -> None:
    """Raise ``ValueError`` unless the configuration builds a model with the same tensors."""
    with torch.device("meta"):
        built = type(model)(copy.deepcopy(model.config))
    expected, actual = (
        {name: value.shape for name, value in part.state_dict().items()} for part in (built, model)
    )
    name = next((name for name in (*expected, *actual) if expected.get(name) != actual.get(name)), None)
    if name is not None:
        verb = "builds" if name in expected else "does not build"
        raise ValueError(
            f"{type(model).__name__} cannot be saved: its layers were changed, and its configuration {verb} "
            f"{name}{' otherwise' if name in expected and name in actual else ''}; set the configuration's "
            "sizes, such as num_hidden_layers, to the model's"
        )


def _copy_block_to_whole(model: PreTrainedModel) -> None:
    for part in model.modules():
        if part is not model and isinstance(part, PreTrainedModel) and part.config.raf is not None:
            for config in (model.config, *_sub_configs(model.config)):
                if _role(config) == _role(part.config) and config.raf is None:
                    config.raf = copy.deepcopy(part.config.raf)


def _copy_block_to_parts(model: PreTrainedModel, sites: Sequence[Site]) -> None:
    if any(config.raf is None for config in configs_with_sites(model, sites)):
        copy_configs(model)
        for config in configs_with_sites(model, sites):
            if config.raf is None:
                config.raf = copy.deepcopy(model.config.raf)


def _role(config: Any) -> tuple[Any, ...]:
    return type(config), getattr(config, "is_decoder", None), getattr(config, "is_encoder_decoder", None)


def _sub_configs(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    children = [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return children + [inner for child in children for inner in _sub_configs(child)]
