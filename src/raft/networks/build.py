"""Build the learned function that takes the place of a fixed one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from raft.coefficients import Fit, fit, named_fit
from raft.coefficients.functions import ALIASES, FUNCTIONS, canonical_name, name_of, signature_of
from raft.coefficients.named import IDENTITY, TABLE_INTERVAL, identity_fit
from raft.functions.parametric import ParametricActivation
from raft.learned_activation import LearnedActivation, SharedActivation, Start, is_learned
from raft.modules import Rational, ResidualRational
from raft.networks.config import AUTO, DEFAULT, RafConfig
from raft.networks.conversion_report import ConversionReport, ConvertedSite
from raft.networks.samples import InputSample, pool

DEFAULT_START = "gelu"
"""What rational functions start from by themselves."""

CONVERSION_INTERVAL = (-10.0, 10.0)
"""Wider than the interval of the ready fits, as the inputs of pretrained models are."""

WARN_MAX_FIT_ERROR = 0.2
"""Fits with a larger error get a warning; a third of it did no harm, and four times it ruined a model."""

SCALING_POINTS = 1001
"""Evenly spaced inputs that coefficients are scaled for without calibration."""


class Place(NamedTuple):
    """A site that gets a learned function.

    Attributes:
        site: with ``name`` and ``kind``.
        owner: a key; sites with the same one share a function.
        activation: that is there; a learned one stays.
        start: of ``config.start``.
        parent: whose device the function gets.
        dim: axis of the channels.
    """

    site: Any
    owner: str
    activation: Callable[..., Any]
    start: str | Start
    parent: nn.Module
    dim: int = -1


def build_all(
    places: Sequence[Place],
    config: RafConfig,
    samples: Mapping[str, InputSample],
    interval: tuple[float, float] | None,
) -> tuple[list[tuple[Any, nn.Module]], ConversionReport]:
    """Build what takes the place of fixed activations; the network stays as it is.

    Args:
        places: in the network's order.
        config: which learned functions.
        samples: by name of the site, the inputs to fit for.
        interval: as in :func:`build_activation`.

    Returns:
        Sites and what they get, and the report.

    Raises:
        ValueError: where a function cannot follow the one that it is to start from, naming the site.
    """
    owners: dict[str, tuple[str, LearnedActivation]] = {}
    inputs: dict[str, list[InputSample]] = {place.owner: [] for place in places}
    for place in places:
        if place.site.name in samples:
            inputs[place.owner].append(samples[place.site.name])
    built: list[tuple[Any, nn.Module]] = []
    report = ConversionReport()
    for site, owner, fixed, start, parent, dim in places:
        if is_learned(fixed):
            if isinstance(fixed, LearnedActivation):
                owners.setdefault(owner, (site.name, fixed))
            continue
        name, shares = activation_name(fixed), None
        if owner in owners:
            shares, act = owners[owner]
            built.append((site, SharedActivation(act, fixed)))
        else:
            try:
                act = build_activation(fixed, name, config, start, pool(inputs[owner]), interval, dim)
            except ValueError as error:
                raise ValueError(
                    f"{name} at {site.name} cannot be replaced: {error}; sites=… leaves it out"
                ) from error
            move_beside(act, parent)
            owners[owner] = site.name, act
            built.append((site, act))
        count = samples[site.name].count if site.name in samples else 0
        errors = fit_errors(act, config, start)
        report.append(ConvertedSite(site.name, site.kind, name, act.start.interval, *errors, count, shares))
    return built, report


def build_activation(
    replaced: Callable[..., Any],
    name: str,
    config: RafConfig,
    start: str | Start,
    samples: Tensor | None,
    interval: tuple[float, float] | None,
    dim: int = -1,
) -> LearnedActivation:
    """Build a learned function in place of a fixed one.

    Args:
        replaced: the fixed one.
        name: of it, as in ``FUNCTIONS`` where it is there.
        config: which learned function.
        start: of ``config.start``, or the name of another function.
        samples: inputs to fit for, ``[samples]``.
        interval: to fit and scale for where there are no samples. With None, as in a model that is being
            built, it gets the ready fit, and scales of one until a checkpoint brings others.
        dim: axis of the channels.

    Raises:
        ValueError: where it cannot follow the function that it is to start from.
    """
    build = _build_rational if config.is_rational else _build_parametric
    target = _target(replaced, name, start) if isinstance(start, str) else start
    act = build(replaced, target, config, samples, interval, dim)
    act.replaced = (replaced,)
    act.trainable = config.trainable
    return act.requires_grad_(config.trainable)


def activation_name(activation: Callable[..., Any]) -> str:
    """The name of an activation in ``FUNCTIONS``; that of its class or its own where it is not there."""
    activation = fixed_function(activation)
    if isinstance(activation, LearnedActivation):
        return activation.name
    if isinstance(activation, nn.GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    if isinstance(activation, nn.Module):
        return name_of(activation) or type(activation).__name__
    if isinstance(activation, partial):
        settings = ", ".join(f"{key}={value!r}" for key, value in activation.keywords.items())
        return name_of(activation) or f"{activation_name(activation.func)}({settings})"
    name = getattr(activation, "__name__", type(activation).__name__)
    return ALIASES.get(name, name)


def fixed_function(activation: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a learned one replaced; itself where it is fixed, or replaced none."""
    if is_learned(activation) and activation.replaced:
        return fixed_function(activation.replaced[0])
    return activation


def fingerprint(activation: Callable[..., Any]) -> str:
    """A hash of an activation's values: those of one class may differ, in their slopes for instance."""
    fixed = fixed_function(activation)
    signature = None if is_learned(fixed) else signature_of(fixed)
    return repr(fixed) if signature is None else hashlib.sha256(signature).hexdigest()


def fit_errors(
    act: LearnedActivation, config: RafConfig, start: str | Start
) -> tuple[float | None, float | None]:
    """The largest and the root mean square distance to the function that it started from.

    Zero where that is part of a residual one; None where it started as itself.
    """
    if config.residual:
        return 0.0, 0.0
    if not isinstance(start, str) or (start == DEFAULT and not config.is_rational):
        return None, None
    return act.start.max_error, act.start.rms_error


def warn_of_misfit(report: ConversionReport, config: RafConfig) -> None:
    """Warn where a learned function is so far from what it replaced that the model may be spoilt."""
    worst = max(report, key=lambda converted: converted.max_error or 0.0, default=None)
    if worst is None or worst.max_error is None or worst.max_error <= WARN_MAX_FIT_ERROR:
        return
    kind, advice = config.function, ""
    if config.is_rational:
        kind, advice = f"RAF of degrees {config.degrees}", ": give higher degrees, or residual=True"
    logging.getLogger("raft").warning(
        "a %s misses %s by up to %.2g at %s, which may spoil the model%s",
        kind, worst.replaced, worst.max_error, worst.site, advice,
    )  # fmt: skip


def move_beside(act: LearnedActivation, parent: nn.Module) -> None:
    """Move a learned function to the device of what holds it; in a model that is being built it is there."""
    held = next(chain(parent.parameters(), parent.buffers()), None)  # quantised weights are buffers
    if held is not None and not held.is_meta and not act.raf_form.is_meta:
        act.to(held.device)


def _build_rational(
    replaced: Callable[..., Any],
    target: str | Callable[..., Any] | Start | None,
    config: RafConfig,
    samples: Tensor | None,
    interval: tuple[float, float] | None,
    dim: int,
) -> Rational:
    start = _fit_start(target or DEFAULT_START, config, samples, interval)
    act: Rational
    if config.residual:
        act = ResidualRational(replaced, start, config.groups, dim=dim)
    else:
        act = Rational(start, config.degrees, config.version, config.groups, dim=dim)
    if config.scaled:
        evenly = torch.linspace(*start.interval, SCALING_POINTS, device="cpu")
        act.scale_to(None if interval is None else evenly if samples is None else samples)
    return act


def _build_parametric(
    replaced: Callable[..., Any],
    target: str | Callable[..., Any] | Start | None,
    config: RafConfig,
    samples: Tensor | None,
    interval: tuple[float, float] | None,
    dim: int,
) -> LearnedActivation:
    act = config.make_function(dim=dim, **({} if target is None else {"init": target}))
    if target is None or isinstance(target, Start):
        return act
    if samples is not None and isinstance(act, ParametricActivation):
        act.start_from(target, _widen(samples))
    return act


def _target(replaced: Callable[..., Any], name: str, start: str) -> str | Callable[..., Any] | None:
    """What a learned function starts from: a name or the replaced function; None for what is its own."""
    if start == DEFAULT:
        return None
    wanted = name if start == AUTO else canonical_name(start)
    return wanted if wanted in FUNCTIONS else replaced


def _widen(samples: Tensor) -> Tensor:
    """The inputs of a calibration and the ends of an interval: training moves them beyond a narrow range."""
    return torch.cat([samples, torch.tensor(TABLE_INTERVAL, device=samples.device)])


def _fit_start(
    target: str | Callable[..., Any] | Start,
    config: RafConfig,
    samples: Tensor | None,
    interval: tuple[float, float] | None,
) -> Fit:
    if isinstance(target, Start):
        assert isinstance(target, Fit)  # as the configuration's function is rational
        return target
    if target == IDENTITY and config.degrees[0] > 0:
        ends = interval or TABLE_INTERVAL
        if samples is not None:
            ends = float(samples.min()), float(samples.max())
        return identity_fit(config.degrees, config.version, ends)
    with torch.device("cpu"):  # the model may be built on the meta device
        if samples is not None:
            return fit(target, config.degrees, config.version, samples=_widen(samples))
        if not isinstance(target, str):
            return _fit_cached(target, signature_of(target), config, interval or TABLE_INTERVAL)
        if interval is None:
            return named_fit(target, config.degrees, config.version)
        return _fit_cached(target, target, config, interval)


_fits: dict[tuple[Any, ...], Fit] = {}


def _fit_cached(
    target: str | Callable[..., Any],
    key: str | bytes | None,
    config: RafConfig,
    interval: tuple[float, float],
) -> Fit:
    """``fit`` on an interval, made once for each key of a target; a target without a key is not cached."""
    cache_key = (key, config.degrees, config.version, interval)
    if key is None:
        return fit(target, config.degrees, config.version, interval=interval)
    if cache_key not in _fits:
        _fits[cache_key] = fit(target, config.degrees, config.version, interval=interval)
    return _fits[cache_key]
