"""Replace fixed activations by learned ones, and back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from raft.hf.blocks import check_layers, configs_with_sites, copy_configs, is_chosen, remember_sites
from raft.hf.calibration import Calibration, collect_inputs
from raft.hf.sites.adapters import install_adapters, remove_adapters
from raft.hf.sites.find import Site, find_parametrised_sites, find_sites
from raft.hf.sites.input_activation import InputActivation
from raft.learned_activation import is_learned, learned_activations
from raft.networks import build
from raft.networks.config import RafConfig
from raft.networks.conversion_report import REPORT
from raft.networks.conversion_report import ConversionReport as ConversionReport  # raft.hf hands it on
from raft.networks.samples import InputSample


def convert(
    model: PreTrainedModel,
    config: RafConfig | None,
    calibration: Calibration | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Convert a model of ``transformers`` in place, see :func:`raft.convert`."""
    before = RafConfig.of(model.config)
    config = config or before or RafConfig()
    if before is None or not learned_activations(model):
        config = replace(config, scaled=True)
    else:  # existing RAFs keep their units
        config = replace(config, scaled=before.scaled)
    if (
        before is not None
        and replace(before, trainable=config.trainable) != config
        and learned_activations(model)
    ):
        raise ValueError(
            f"{type(model).__name__} has RAFs of another configuration ({before}); raft.revert it first"
        )
    _check_parametrised(model, config)
    install_adapters(model, config.sites)
    all_sites = find_sites(model)
    sites = [site for site in all_sites if is_chosen(site, config)]
    fixed = [site for site in sites if not is_learned(site.activation)]
    samples = None
    try:
        check_groups(model, config, sites)
        _check_kinds(model, config, sites)
        check_layers(model, config, all_sites)
        if calibration is not None and fixed:
            samples = collect_inputs(model, fixed, calibration, tokenizer)
        report = replace_activations(model, config, samples=samples, interval=build.CONVERSION_INTERVAL)
    except Exception:
        remove_adapters(model)
        raise
    if calibration is not None and not fixed:
        logging.getLogger("raft").warning(
            "%s has its RAFs already, and the calibration was not used: raft.revert it first to fit anew",
            type(model).__name__,
        )
    build.warn_of_misfit(report, config)
    if before is not None and learned_activations(model) and before.trainable != config.trainable:
        _set_trainable(model, config.trainable)
    if report or not hasattr(model, REPORT):
        setattr(model, REPORT, report)
        copy_configs(model)
        for part_config in configs_with_sites(model, sites):
            part_config.raf = config.to_dict()
        remember_sites(model)


def revert(model: PreTrainedModel) -> None:
    """Restore the functions that RAFs replaced, and remove the ``raf`` block."""
    for site in find_sites(model):
        act = site.activation
        if is_learned(act) and act.replaced:
            site.set_activation(act.replaced[0])
    remove_adapters(model)
    copy_configs(model)
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if config is not None and "raf" in getattr(type(config), "__annotations__", {}):
            config.raf = None  # without a block, the paper's encoder would have RAFs
        elif config is not None:
            vars(config).pop("raf", None)
    if hasattr(model, REPORT):
        delattr(model, REPORT)


def freeze(model: nn.Module) -> nn.Module:
    """Disable gradients of all RAF coefficients."""
    return _set_trainable(model, False)


def unfreeze(model: nn.Module) -> nn.Module:
    """Enable gradients of all RAF coefficients."""
    return _set_trainable(model, True)


def _set_trainable(model: nn.Module, is_trainable: bool) -> nn.Module:
    copy_configs(model)
    for act in learned_activations(model).values():
        act.trainable = is_trainable
        act.requires_grad_(is_trainable)
    for module in model.modules():
        config = getattr(module, "config", None)
        block = RafConfig.of(config) if isinstance(config, PreTrainedConfig) else None
        if config is not None and block is not None:
            config.raf = replace(block, trainable=is_trainable).to_dict()
    return model


def _check_kinds(model: PreTrainedModel, config: RafConfig, sites: Sequence[Site]) -> None:
    """Raise ``ValueError`` where a requested kind of site is missing, except a pooler among others."""
    required = [kind for kind in config.sites if kind != "pooler" or config.sites == ("pooler",)]
    missing = [kind for kind in required if not any(site.kind == kind for site in sites)]
    if not missing:
        return
    counts = Counter(site.kind for site in find_sites(model))
    has = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none that can be reached"
    raise ValueError(
        f"{type(model).__name__} has no {' and no '.join(missing)} activation that can be replaced "
        f"(layers={config.layers!r}); it has: {has}. Activations are modules of torch.nn or "
        "transformers: one of another class, or that a model's own code calls by name, cannot be reached, "
        "nor the input of attention whose projections to query, key and value are no modules"
    )


def check_groups(model: PreTrainedModel, config: RafConfig, sites: Sequence[Site]) -> None:
    """Raise ``ValueError`` where channels are not the last axis, or not a multiple of the groups."""
    reads = "groups cut"
    if config.groups == 1:
        if config.is_rational or config.make_function().is_elementwise:
            return
        reads = f"{config.function} normalises over"
    for site in sites:
        siblings = list(site.parent.children())
        is_input = isinstance(site.parent, InputActivation)
        channels = site.parent.channels if isinstance(site.parent, InputActivation) else None
        if (is_input and channels is None) or any(
            isinstance(child, nn.modules.conv._ConvNd) for child in siblings
        ):
            raise ValueError(
                f"{type(model).__name__} has its channels first at {site.name}, and {reads} the last axis: "
                f"{'give groups=1, or ' if config.groups > 1 else ''}leave such sites out"
            )
        widths = {child.out_features for child in siblings if isinstance(child, nn.Linear)}
        if channels is not None:
            widths = {channels}
        if len(widths) == 1 and (width := widths.pop()) % config.groups:
            raise ValueError(f"the {width} channels at {site.name} cannot be cut into {config.groups} groups")


def _check_parametrised(model: PreTrainedModel, config: RafConfig) -> None:
    """Raise ``ValueError`` where the activation of a chosen feed-forward block has parameters."""
    learned = [site for site in find_parametrised_sites(model) if is_chosen(site, config)]
    if learned:
        first = learned[0]
        more = f", and {len(learned) - 1} more" if len(learned) > 1 else ""
        raise ValueError(
            f"{type(model).__name__} has an activation with parameters of its own "
            f"({type(first.activation).__name__} at {first.name}{more}), which a RAF cannot stand in for: "
            "leave such layers out with raf.layers, or 'ffn' with raf.sites, or put a fixed one there first"
        )


def replace_activations(
    model: PreTrainedModel,
    config: RafConfig,
    *,
    samples: Mapping[str, InputSample] | None = None,
    interval: tuple[float, float] | None = None,
) -> ConversionReport:
    """Replace the fixed activations of the configured sites.

    Args:
        model: built or being built, on any device (the meta device too).
        config: which sites, and which rational.
        samples: by name of the site, the inputs to fit for.
        interval: that RAFs of the other sites are fitted and scaled for. With None, as in a model that is
            being built, they get the ready fits, and scales of one until a checkpoint brings others.

    Raises:
        ValueError: where the activation of a chosen feed-forward block has parameters, or a learned function
            cannot follow the one that it is to start from; the model then has the activations that it had.
    """
    _check_parametrised(model, config)
    install_adapters(model, config.sites)
    places = [
        build.Place(
            site, _owner_key(site, config), site.activation, config.start(site.kind, site.layer), site.holder
        )
        for site in find_sites(model)
        if is_chosen(site, config)
    ]
    built, report = build.build_all(places, config, samples or {}, interval)
    for site, act in built:
        site.set_activation(act.train(model.training))
    return report


def _owner_key(site: Site, config: RafConfig) -> str:
    """A key of the RAF that a site gets; sites with the same key share it."""
    name, fixed = config.owner(site.kind, site.layer), site.activation
    if name is not None:
        return f"{site.stack}: {name}, {build.activation_name(fixed)}, {build.fingerprint(fixed)}"
    return f"{site.experts}: {site.kind}" if site.experts else site.name
