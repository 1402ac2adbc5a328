"""Put rational activations in place of fixed ones, and back."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.activations import ACT2FN

from raft.coefficients import Fit, fit, named_fit
from raft.coefficients.functions import ALIASES, FUNCTIONS, canonical_name, name_of, signature_of
from raft.coefficients.named import TABLE_INTERVAL
from raft.hf.calibration import Calibration, InputSample, collect_inputs
from raft.hf.config import RafConfig
from raft.hf.conversion_report import ConversionReport, ConvertedSite
from raft.hf.saving.blocks import configs_with_sites, is_chosen, is_rational, own_configs, remember_layout
from raft.hf.sites.adapters import install_adapters, remove_adapters
from raft.hf.sites.find import Site, find_sites, learned_sites, rationals
from raft.modules import Rational, ResidualRational, SharedRational

CONVERSION_INTERVAL = (-10.0, 10.0)
"""Pretrained models' inputs reach far beyond the interval of the ready fits."""


REPORT = "conversion_report"
WARN_MAX_FIT_ERROR = 0.2
"""A larger error of a fit is worth a warning: a third of it was seen to do no harm, four times it to ruin."""

SCALING_POINTS = 1001
"""Evenly spaced inputs that coefficients are scaled for where no calibration tells which there are."""


def convert(
    model: PreTrainedModel,
    config: RafConfig | Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PreTrainedModel:
    """Turn a model with fixed activations into a RAFT, in place; every other weight is kept bit for bit.

    Each RAF is a fit of the function that it replaces, over the inputs that it gets while the model reads
    ``calibration`` (with little weight also over what of [-5, 5] these leave out), and over [-10, 10] without
    one, which pretrained models' inputs often leave.
    ``model.conversion_report`` tells what was done. ``save_pretrained`` then writes the ``raf`` block and
    the coefficients, and after ``import raft`` plain ``from_pretrained`` restores them. Converting twice
    changes nothing.

    Args:
        model: any model of ``transformers``, pretrained or new.
        config: which activations, and which RAFs; the defaults of ``RafConfig`` where it is None.
        calibration: some dozens of texts, or batches as the model takes them (a ``DataLoader``, say).
        tokenizer: for texts; the one beside the model's weights where it is None.

    Returns:
        The model.

    Raises:
        ValueError: where the model has no activation of a kind that is asked for, or one with parameters of
            its own in a feed-forward block; where it has RAFs of another configuration; or for an empty
            calibration.
        TypeError: for a wrapper around a model, such as PEFT's, which would not save the RAFs; or a
            configuration of another kind.

    Example::

        >>> import raft
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = raft.convert(BertModel(tiny))
        >>> len(raft.hf.rationals(model)), len(model.conversion_report)
        (3, 3)
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"convert takes a model of transformers, not a {type(model).__name__}: convert it before a "
            "wrapper, such as PEFT's, is put around it"
        )
    if isinstance(config, Mapping):
        config = RafConfig.from_dict(config)
    elif config is not None and not isinstance(config, RafConfig):
        raise TypeError(
            f"config is a RafConfig or its keys and values, not a {type(config).__name__}; texts are given "
            "as calibration=…"
        )
    before = RafConfig.of(model.config)
    config = config or before or RafConfig()
    if before is None or not rationals(model):
        config = replace(config, scaled=True)
    else:  # what has RAFs keeps its units
        config = replace(config, scaled=before.scaled)
    if before is not None and replace(before, trainable=config.trainable) != config and rationals(model):
        raise ValueError(
            f"{type(model).__name__} has RAFs of another configuration ({before}); raft.revert it first"
        )
    _check_learned(model, config)
    install_adapters(model, config.sites)
    found = [site for site in find_sites(model) if is_chosen(site, config)]
    try:
        _check_groups(model, config, found)
        _check_kinds(model, config, found)
        _check_layers(model, config)
    except ValueError:
        remove_adapters(model)
        raise
    fixed = [site for site in found if not is_rational(site)]
    seen = None
    if calibration is not None and fixed:
        try:
            seen = collect_inputs(model, fixed, calibration, tokenizer)
        except Exception:
            remove_adapters(model)
            raise
    elif calibration is not None:
        logging.getLogger("raft").warning(
            "%s has its RAFs already, and the calibration was not used: raft.revert it first to fit anew",
            type(model).__name__,
        )
    report = replace_activations(model, config, seen=seen, interval=CONVERSION_INTERVAL)
    worst = max(report, key=lambda each: each.max_error, default=None)
    if worst is not None and worst.max_error > WARN_MAX_FIT_ERROR:
        logging.getLogger("raft").warning(
            "a RAF of degrees %s misses %s by up to %.2g at %s, which may spoil the model: give higher "
            "degrees, or residual=True", config.degrees, worst.replaced, worst.max_error, worst.site,
        )  # fmt: skip
    if before is not None and rationals(model) and before.trainable != config.trainable:
        _set_trainable(model, config.trainable)
    if report or not hasattr(model, REPORT):
        setattr(model, REPORT, report)
        own_configs(model)
        for config_of_part in configs_with_sites(model, found):
            config_of_part.raf = config.to_dict()
        remember_layout(model)
    return model


def revert(model: PreTrainedModel) -> PreTrainedModel:
    """Put the functions that RAFs replaced back in their places, and take the ``raf`` block away.

    Raises:
        TypeError: for a wrapper around a model, such as PEFT's.
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"revert takes a model of transformers, not a {type(model).__name__} around one")
    for site in find_sites(model):
        act = site.activation
        if isinstance(act, (Rational, SharedRational)) and act.replaced:
            site.set_activation(act.replaced[0])
    remove_adapters(model)
    own_configs(model)
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if config is not None and "raf" in getattr(type(config), "__annotations__", {}):
            config.raf = None  # without a block, the paper's encoder would have RAFs
        elif config is not None:
            vars(config).pop("raf", None)
    if hasattr(model, REPORT):
        delattr(model, REPORT)
    return model


def freeze(model: nn.Module) -> nn.Module:
    """Let the coefficients of all RAFs of a model stay as they are in training."""
    return _set_trainable(model, False)


def unfreeze(model: nn.Module) -> nn.Module:
    """Let the coefficients of all RAFs of a model be trained."""
    return _set_trainable(model, True)


def _set_trainable(model: nn.Module, is_trainable: bool) -> nn.Module:
    for act in rationals(model).values():
        act.trainable = is_trainable
        act.requires_grad_(is_trainable)
    for module in model.modules():
        config = getattr(module, "config", None)
        block = RafConfig.of(config) if isinstance(config, PreTrainedConfig) else None
        if config is not None and block is not None:
            config.raf = replace(block, trainable=is_trainable).to_dict()
    return model


def _check_kinds(model: PreTrainedModel, config: RafConfig, found: Sequence[Site]) -> None:
    """Raise ``ValueError`` where nothing is found of what was asked for; only a pooler may be missing."""
    asked = [kind for kind in config.sites if kind != "pooler" or config.sites == ("pooler",)]
    missing = [kind for kind in asked if not any(site.kind == kind for site in found)]
    if not missing:
        return
    there = Counter(site.kind for site in find_sites(model))
    has = ", ".join(f"{count} {kind}" for kind, count in there.items()) or "none that can be reached"
    raise ValueError(
        f"{type(model).__name__} has no {' and no '.join(missing)} activation that can be replaced "
        f"(layers={config.layers!r}); it has: {has}. An activation that a model's own code calls by name, "
        "not through a module, cannot be reached"
    )


def _check_groups(model: PreTrainedModel, config: RafConfig, found: Sequence[Site]) -> None:
    """Raise ``ValueError`` where channels are not the last axis, or cannot be cut into the groups."""
    if config.groups == 1:
        return
    for site in found:
        beside = list(site.parent.children())
        if any(isinstance(child, nn.modules.conv._ConvNd) for child in beside):
            raise ValueError(
                f"{type(model).__name__} has its channels first at {site.name}, and groups cut the last "
                "axis: give groups=1, or leave such sites out"
            )
        widths = {child.out_features for child in beside if isinstance(child, nn.Linear)}
        if len(widths) == 1 and (width := widths.pop()) % config.groups:
            raise ValueError(f"the {width} channels at {site.name} cannot be cut into {config.groups} groups")


def _check_layers(model: PreTrainedModel, config: RafConfig) -> None:
    layers: dict[str | None, int] = {}
    for site in find_sites(model):
        if site.kind == "ffn" and site.layer is not None:
            layers[site.stack] = max(site.layer + 1, layers.get(site.stack, 0))
    missing = config.missing_layers(layers.values())
    if missing:
        has = ", ".join(f"{stack} has {count}" for stack, count in layers.items())
        raise ValueError(f"{type(model).__name__} has no layer {missing[0]}: {has}, counted from 0")


def _check_learned(model: PreTrainedModel, config: RafConfig) -> None:
    """Raise ``ValueError`` where a chosen feed-forward block's activation has learned something itself."""
    learned = [site for site in learned_sites(model) if is_chosen(site, config)]
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
    seen: Mapping[str, InputSample] | None = None,
    interval: tuple[float, float] | None = None,
) -> ConversionReport:
    """Replace the fixed activations of the configured sites.

    Args:
        model: built or being built, on any device (the meta device too).
        config: which sites, and which rational.
        seen: by name of the site, the inputs to fit for.
        interval: where the fits are made for the other sites, and coefficients scaled. Where it is None, as
            in a model that is being built, they get the ready fits, and scales of one until a checkpoint
            brings others.

    Raises:
        ValueError: for a chosen feed-forward block whose activation has parameters of its own.
    """
    _check_learned(model, config)
    install_adapters(model, config.sites)
    chosen = [site for site in find_sites(model) if is_chosen(site, config)]
    owners: dict[str, tuple[str, Rational]] = {}
    pooled = _pooled(chosen, config, seen or {})
    report = ConversionReport()
    for site in chosen:
        if is_rational(site):
            if isinstance(site.activation, Rational):
                owners.setdefault(_owner(site, config), (site.name, site.activation))
            continue
        replaced, owner = site.activation, _owner(site, config)
        shares = None
        if owner in owners:
            shares, shared = owners[owner]
            site.set_activation(SharedRational(shared, replaced).train(model.training))
        else:
            start = _start(replaced, config, pooled.get(owner), interval)
            act = _built(replaced, start, config)
            if config.scaled:
                act.scale_to(None if interval is None else _inputs(start, pooled.get(owner)))
            _move(act, site)
            site.set_activation(act.train(model.training))
            owners[owner] = site.name, act
        start = owners[owner][1].start
        report.append(
            ConvertedSite(
                site=site.name,
                kind=site.kind,
                replaced=activation_name(replaced),
                interval=start.interval,
                max_error=0.0 if config.residual else start.max_error,
                rms_error=0.0 if config.residual else start.rms_error,
                inputs=seen[site.name].count if seen and site.name in seen else 0,
                shares=shares,
            )
        )
    return report


def _owner(site: Site, config: RafConfig) -> str:
    """A name for the RAF that the site gets; sites with one name have one RAF."""
    name = config.owner(site.layer) if site.kind == "ffn" else None
    if name is not None:
        return f"{site.stack}: {name}, {activation_name(site.activation)}, {_values(site.activation)}"
    return site.experts or site.name


def _values(activation: Callable[..., Any]) -> str:
    """What tells two activations of one class apart, such as slopes, which their ``repr`` need not show."""
    if isinstance(activation, (Rational, SharedRational)):
        return _values(activation.replaced[0]) if activation.replaced else repr(activation)
    found = signature_of(activation)
    return repr(activation) if found is None else hashlib.sha256(found).hexdigest()


def _pooled(chosen: Sequence[Site], config: RafConfig, seen: Mapping[str, InputSample]) -> dict[str, Tensor]:
    samples: dict[str, list[Tensor]] = {}
    for site in chosen:
        if site.name in seen and seen[site.name].low < seen[site.name].high:
            samples.setdefault(_owner(site, config), []).append(seen[site.name].values())
    return {owner: torch.cat(parts) for owner, parts in samples.items()}


def _built(replaced: Callable[..., Any], start: Fit, config: RafConfig) -> Rational:
    act: Rational
    if config.residual:
        act = ResidualRational(replaced, start, config.groups)
    else:
        act = Rational(start, config.degrees, config.version, config.groups)
        act.replaced = (replaced,)
    act.trainable = config.trainable
    return act.requires_grad_(config.trainable)


def _inputs(start: Fit, samples: Tensor | None) -> Tensor:
    """Those that a converted RAF's coefficients are scaled for."""
    return torch.linspace(*start.interval, SCALING_POINTS, device="cpu") if samples is None else samples


def _move(act: Rational, site: Site) -> None:
    """To where its neighbours are; in a model that is being built it is there already."""
    parameter = next(site.parent.parameters(), None)
    if parameter is not None and not parameter.is_meta and not act.numerator.is_meta:
        act.to(parameter.device)


def _start(
    replaced: Callable[..., Any],
    config: RafConfig,
    samples: Tensor | None,
    interval: tuple[float, float] | None,
) -> Fit:
    with torch.device("cpu"):  # the model may be built on the meta device
        return _fitted(replaced, config, samples, interval)


def _fitted(
    replaced: Callable[..., Any],
    config: RafConfig,
    samples: Tensor | None,
    interval: tuple[float, float] | None,
) -> Fit:
    function = activation_name(replaced) if config.init == "auto" else canonical_name(config.init)
    target = function if function in FUNCTIONS else replaced
    if samples is not None:
        # training moves inputs beyond a narrow range that was seen before it
        wide = torch.cat([samples, torch.tensor(TABLE_INTERVAL, device=samples.device)])
        return fit(target, config.degrees, config.version, samples=wide)
    if isinstance(target, str):
        if interval is None:
            return named_fit(target, config.degrees, config.version)
        return _fit_once(target, target, config, interval)
    return _fit_once(target, signature_of(target), config, interval or TABLE_INTERVAL)


_fits: dict[tuple[Any, ...], Fit] = {}


def _fit_once(
    target: str | Callable[..., Any],
    key: str | bytes | None,
    config: RafConfig,
    interval: tuple[float, float],
) -> Fit:
    """``fit`` on an interval, made once for a key that tells the target from others; None for no such key."""
    whole = (key, config.degrees, config.version, interval)
    if key is None:
        return fit(target, config.degrees, config.version, interval=interval)
    if whole not in _fits:
        _fits[whole] = fit(target, config.degrees, config.version, interval=interval)
    return _fits[whole]


def activation_name(activation: Callable[..., Any]) -> str:
    """The table's name of a module or function; its class's or its own name where the table has none."""
    if isinstance(activation, SharedRational):
        activation = activation.replaced[0]
    if isinstance(activation, Rational):
        return activation_name(activation.replaced[0]) if activation.replaced else "rational"
    if isinstance(activation, nn.GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    if not isinstance(activation, nn.Module):
        name = getattr(activation, "__name__", type(activation).__name__)
        return ALIASES.get(name, name)
    for name in (*FUNCTIONS, *ALIASES):
        if name in ACT2FN and repr(ACT2FN[name]) == repr(activation):
            return canonical_name(name)
    return name_of(activation) or type(activation).__name__
