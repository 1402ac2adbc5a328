"""Replace the fixed activations of any network by learned ones, and back."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from torch import nn

from raft.learned_activation import is_learned, learned_activations
from raft.networks import build
from raft.networks.activations import GATES
from raft.networks.calibration import Arguments, record_sites
from raft.networks.channels import channel_axis, check_groups
from raft.networks.config import RafConfig
from raft.networks.conversion_report import ConversionReport
from raft.networks.samples import InputSample
from raft.networks.sites import (
    NetworkSite,
    find_sites,
    iter_modules,
    kept_calls,
    put_all,
    put_back,
    unreachable_calls,
    with_parameters,
)

USE_MODULES = "modules, such as nn.ReLU(), in place of such calls can be converted"


def convert_network(
    network: nn.Module,
    config: RafConfig,
    batches: Iterable[Arguments] | None = None,
    *,
    sites: str | None = None,
    gates: bool = False,
    dim: int | None = None,
    without: Collection[nn.Module] = (),
) -> ConversionReport:
    """Replace the fixed activations of a network, in place.

    Args:
        network: any.
        config: which learned functions.
        batches: arguments of calls to fit for; None to fit over [-10, 10].
        sites: a regular expression, found in the names of the sites that are converted; None for all.
        gates: whether functions whose range matters are converted, too.
        dim: axis of the channels; None for that of the layers beside each site.
        without: modules that are left as they are.

    Returns:
        The report, which lists what could not be reached, too.

    Raises:
        ValueError: where nothing is chosen, a function cannot be followed, or groups do not fit what a site
            gets from the batches.
    """
    all_sites = find_sites(network, without)
    chosen = _choose(network, all_sites, sites, gates)
    if not chosen and not without and not learned_activations(network):
        raise ValueError(_nothing_chosen(network, all_sites, sites, unreachable_calls(network)))
    samples: dict[str, InputSample] = {}
    if batches is None:
        calls = [
            f"{name} in {place}"
            for name, place in unreachable_calls(network, without)
            if gates or name not in GATES
        ]
    else:
        samples, calls = record_sites(network, all_sites, batches, without, gates)
    axes = _channel_axes(network, config, chosen, dim, samples)
    places = [
        build.Place(
            site, _owner_key(site, config, axes), site.activation, config.start(),
            with_parameters(network, site), axes.get(site.name, -1),
        )
        for site in chosen
    ]  # fmt: skip
    built, report = build.build_all(places, config, samples, build.CONVERSION_INTERVAL)
    report.not_reached = tuple(calls)
    put_all(built, all_sites)
    build.warn_of_misfit(report, config)
    if calls:
        logging.getLogger("raft").warning(
            "not reached, and left as they are: %s; %s", "; ".join(calls), USE_MODULES
        )
    return report


def revert_network(network: nn.Module, without: Collection[nn.Module] = ()) -> None:
    """Restore the functions that learned ones replaced, and the code that calls them."""
    for _, parent in list(iter_modules(network, without)):
        for attribute, module in list(parent._modules.items()):
            if is_learned(module) and module.replaced:
                put_back(parent, attribute, module.replaced[0])
        for attribute in kept_calls(parent):
            put_back(parent, attribute, getattr(parent, attribute))


def _choose(
    network: nn.Module, all_sites: Sequence[NetworkSite], pattern: str | None, gates: bool
) -> list[NetworkSite]:
    try:
        expression = re.compile("" if pattern is None else pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"sites must be a regular expression of names, not {pattern!r}: {error}") from error
    return [site for site in all_sites if (gates or not site.is_gate) and expression.search(site.name)]


def _nothing_chosen(
    network: nn.Module,
    all_sites: Sequence[NetworkSite],
    pattern: str | None,
    calls: Sequence[tuple[str, str]],
) -> str:
    kind = type(network).__name__
    if not all_sites:
        where = "".join(f"; {name} is called in {place}" for name, place in calls)
        where += f"; {USE_MODULES}" if calls else ""
        return f"{kind} has no activation that can be replaced{where}"
    counts = Counter(build.activation_name(site.activation) for site in all_sites)
    has = ", ".join(f"{count} {name}" for name, count in counts.items())
    first = all_sites[0].name
    if pattern is not None and any(not site.is_gate for site in all_sites):
        return f"{kind} has no activation whose name sites={pattern!r} matches; it has {has}, {first!r} first"
    return (
        f"{kind} has no activation but those whose range matters ({has}, {first!r} first), which are left as "
        "gates or outputs: gates=True takes them, too, and leaves the code around them as it is"
    )


def _channel_axes(
    network: nn.Module,
    config: RafConfig,
    chosen: Sequence[NetworkSite],
    dim: int | None,
    samples: dict[str, InputSample],
) -> dict[str, int]:
    """By name of the site, where functions differ between channels."""
    if config.groups == 1 and (config.is_rational or config.make_function().is_elementwise):
        return {}
    axes = {site.name: channel_axis(network, site) if dim is None else dim for site in chosen}
    for site in chosen:
        shapes = sorted(samples[site.name].shapes) if site.name in samples else []
        check_groups(site, config.groups, axes[site.name], shapes)
    return axes


def _owner_key(site: NetworkSite, config: RafConfig, axes: dict[str, int]) -> str:
    """A key of the learned function that a site gets; sites with the same key share it."""
    if config.shared != "all":
        return site.name
    name = build.activation_name(site.activation)
    return f"{name}, {build.fingerprint(site.activation)}, {axes.get(site.name, -1)}"
